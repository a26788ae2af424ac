"""Slots of the array `settings`, int64 [training, seed, epoch], that tells kernels what their block is computed for."""

TRAINING, SEED, EPOCH = range(3)  # TRAINING: 1, or 0 for evaluation and prediction
