"""The lock of a run's folder: one job at a time, dead holders known, on this host at once, on others by heartbeat."""
