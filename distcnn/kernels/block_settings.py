"""Indices into the array `settings`, int64 [training, seed, epoch], which kernels of dropout and batch norm read."""

TRAINING, SEED, EPOCH = range(3)  # TRAINING: 1, or 0 for evaluation and prediction
