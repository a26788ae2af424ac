"""Fault tolerance: recovery from rank failures, comparison of replicas, the watchdog, and diagnosis of divergence."""
