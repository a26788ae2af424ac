"""A run on disk and on the screen: folder, state, checkpoints, metrics, curves, progress, predictions."""
