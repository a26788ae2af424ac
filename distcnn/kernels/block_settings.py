"""Slots of the array `settings`, int64 [training, seed, epoch], that kernels with randomness or statistics read."""

TRAINING, SEED, EPOCH = range(3)  # TRAINING: 1, or 0 for evaluation and prediction
