"""Settings and their types, the command line, and checks between settings."""
