"""The order of the samples in an epoch: a function of the seed and the epoch, the same for any number of ranks."""

import numpy as np

from distcnn.numerics import random


def epoch_order(seed: int, epoch: int, n: int) -> np.ndarray:
    """Return the order of `n` samples in an epoch: a permutation, int64 [n].

    The samples are sorted by one random word each. The sort is stable, so that the order is also defined if two words
    are equal.
    """
    return np.argsort(random.words(seed, random.ORDER, epoch, n), kind="stable")
