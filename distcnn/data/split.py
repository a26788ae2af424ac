"""Splits that are cut off the training samples: a function of only the seed and the number of samples."""

import numpy as np

from distcnn.errors import DataError
from distcnn.numerics import random
from distcnn.system.counts import counted

PIECE = 4096  # samples that are moved at a time


VALIDATION, TEST = 0, 1  # the epochs of the random words by which the splits are chosen; they never change


def validation_mask(n: int, fraction: float, seed: int) -> np.ndarray:
    """Return which of `n` training samples belong to the validation split, bool [n].

    n: the number of samples.
    fraction: the fraction of the samples to choose; with 0 there is no validation split.
    seed: determines which samples are chosen.

    Raises DataError if the fraction is not 0 and one of the two splits would be empty.
    """
    return _mask(n, fraction, seed, VALIDATION, "validation")


def test_mask(n: int, fraction: float, seed: int) -> np.ndarray:
    """Return which of `n` samples belong to the test split, bool [n]; see `validation_mask`."""
    return _mask(n, fraction, seed, TEST, "test")


def _mask(n: int, fraction: float, seed: int, which: int, name: str) -> np.ndarray:
    """Return which of `n` samples belong to a split.

    which: VALIDATION or TEST.
    name: of the split, for messages.
    """
    count = _count(n, fraction, name)
    mask = np.zeros(n, bool)
    if count:
        words = random.words(seed, random.VALIDATION, which, n)
        mask[np.argsort(words, kind="stable")[:count]] = True
    return mask


def validation_count(n: int, fraction: float) -> int:
    """Return how many of `n` training samples are for validation; the arguments are those of `validation_mask`."""
    return _count(n, fraction, "validation")


def _count(n: int, fraction: float, name: str) -> int:
    """Return how many of `n` samples belong to a split; name: of the split, for messages."""
    count = int(n * fraction + 0.5)
    if fraction and not 0 < count < n:
        found = f"a {name} split of {fraction} takes {count} of {counted(n, 'training image')}"
        raise DataError(f"{found}; wanted some, and not all")
    return count


def move_to_end(array: np.ndarray, mask: np.ndarray) -> None:
    """Move some rows of an array to its end, in place; the moved rows and the other rows stay in order.

    Only the moved rows are copied, so that the training images are never in memory twice.

    array: the array.
    mask: bool [n], True for each row to move.
    """
    if not mask.any():
        return
    moved = array[mask]
    others = np.flatnonzero(~mask)
    for start in range(0, len(others), PIECE):
        rows = others[start : start + PIECE]
        array[start : start + len(rows)] = array[rows]  # never before its source: rows[i] >= start + i
    array[len(others) :] = moved
