"""Uses of the operating system: files, folders, signals, processes."""
