"""Mean and standard deviation of every channel, the same bits on every machine.

They reach the weights through the normalised images, so NumPy's float reductions, whose order follows the
processor's vector length, are out: bytes are summed as integers, floats in an order written down here.
"""

import math
from collections.abc import Iterator

import numpy as np

ROWS = 2**20  # about as many pixels are worked on at a time: they stay in the cache


def channel_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation, float64 [c] each, of images uint8 or float32 [n, c, h, w].

    A deviation of 0, in a channel that is the same everywhere, is returned as 1.
    """
    mean, variance = (_of_bytes if images.dtype == np.uint8 else _of_floats)(images)
    std = np.sqrt(variance)  # correctly rounded in IEEE 754
    return mean, np.where(std > 0, std, 1.0)


def _of_bytes(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    total = square = np.zeros(images.shape[1], np.int64)
    for some in _pieces(images):
        wide = some.astype(np.uint32)
        total = total + wide.sum(axis=(0, 2, 3), dtype=np.int64)
        square = square + (wide * wide).sum(axis=(0, 2, 3), dtype=np.int64)
    n = images[:, 0].size
    spread = [n * int(q) - int(t) ** 2 for t, q in zip(total, square, strict=True)]  # n**2 times the variance, exactly
    return np.array([int(t) / n for t in total]), np.array([s / n**2 for s in spread])


def _of_floats(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n = images[:, 0].size
    mean = _sum(some.astype(np.float64) for some in _pieces(images)) / n
    centre = mean[:, None, None]
    return mean, _sum((some - centre) ** 2 for some in _pieces(images)) / n


def _pieces(images: np.ndarray) -> Iterator[np.ndarray]:
    step = max(1, ROWS // images[0].size)
    return (images[first : first + step] for first in range(0, len(images), step))


def _sum(pieces: Iterator[np.ndarray]) -> np.ndarray:
    """Add pieces float64 [n, c, h, w] up to [c]: within a piece by halves, element by element, then one by one."""
    total = 0.0
    for piece in pieces:
        columns = piece.transpose(0, 2, 3, 1).reshape(-1, piece.shape[1])
        total = total + _fold(np.ascontiguousarray(columns))
    return total


def _fold(rows: np.ndarray) -> np.ndarray:
    """Add the rows of an array, the second half onto the first, until one is left; `rows` is overwritten."""
    while len(rows) > 1:
        half = len(rows) // 2
        rows[:half] += rows[len(rows) - half :]
        rows = rows[: len(rows) - half]
    return rows[0]
