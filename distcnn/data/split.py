"""The validation split: samples cut from the training split by a function of the seed and of their number alone."""

import numpy as np

from distcnn.errors import DataError
from distcnn.numerics import random

PIECE = 4096  # samples that are moved at a time


def validation_mask(n: int, fraction: float, seed: int) -> np.ndarray:
    """Return which of `n` training samples are for validation, bool [n].

    Raises DataError unless both splits get some; with a fraction of 0 there is no validation split.
    """
    count = int(n * fraction + 0.5)
    if fraction and not 0 < count < n:
        found = f"a validation split of {fraction} takes {count} of {n} training images"
        raise DataError(f"{found}; wanted some, and not all")
    mask = np.zeros(n, bool)
    if count:
        words = random.words(seed, random.VALIDATION, 0, n)
        mask[np.argsort(words, kind="stable")[:count]] = True
    return mask


def move_to_end(array: np.ndarray, mask: np.ndarray) -> None:
    """Move the rows that a mask, bool [n], chooses behind the others, in place; both keep their order.

    Only the chosen rows are copied, so that memory need not hold the training images twice.
    """
    if not mask.any():
        return
    behind = array[mask]
    others = np.flatnonzero(~mask)
    for start in range(0, len(others), PIECE):
        rows = others[start : start + PIECE]
        array[start : start + len(rows)] = array[rows]  # never before its source: rows[i] >= start + i
    array[len(others) :] = behind
