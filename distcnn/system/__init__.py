"""The operating system: files, folders, signals, processes."""
