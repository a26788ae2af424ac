"""Arrays of noise, and how far results may be from those of the naive formulas."""

import numpy as np


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def close(ours, wanted, summands=0):
    """Return whether arrays agree to float32 rounding, relative to the largest number or the sum of its summands."""
    assert ours.shape == wanted.shape
    return np.abs(ours - wanted).max() <= 2e-6 * max(np.abs(wanted).max(), np.abs(summands).sum()) + 1e-30


def distance(ours, wanted):
    """Return the difference's norm relative to the wanted array's."""
    return np.linalg.norm(ours - wanted) / np.linalg.norm(wanted)
