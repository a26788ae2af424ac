"""A run's files and its output on the screen: folder, state, checkpoints, metrics, curves, progress, predictions."""
