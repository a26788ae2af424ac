"""The validation part: samples cut from the training part by a function of the seed and of their number alone."""

import numpy as np

from distcnn.errors import DataError
from distcnn.numerics import random

PIECE = 4096  # samples that are moved at a time


def validation_mask(n: int, fraction: float, seed: int) -> np.ndarray:
    """Return which of `n` samples are for validation, bool [n]; DataError unless both parts get some."""
    count = int(n * fraction + 0.5)
    if fraction and not 0 < count < n:
        raise DataError(
            f"--validation-split {fraction} takes {count} of {n} training images; wanted some, and not all"
        )
    chosen = np.zeros(n, bool)
    if count:
        chosen[np.argsort(random.words(seed, random.VALIDATION, 0, n), kind="stable")[:count]] = True
    return chosen


def move_to_end(array: np.ndarray, chosen: np.ndarray) -> None:
    """Move the chosen rows behind the others, both in their order, in place: a copy is made of the chosen alone."""
    if not chosen.any():
        return
    behind = array[chosen]
    kept = np.flatnonzero(~chosen)
    for start in range(0, len(kept), PIECE):
        rows = kept[start : start + PIECE]
        array[start : start + len(rows)] = array[rows]  # never before its source: rows[i] >= start + i
    array[len(kept) :] = behind
