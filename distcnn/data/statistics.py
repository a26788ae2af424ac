"""The mean and the standard deviation of each channel, with the same bits on every machine.

Since images are normalized by them, they affect the weights. The order of NumPy's float reductions depends on the
vector length of the processor, so this module does not use them. It sums bytes as integers, and floats in a fixed
order.
"""

import math
from collections.abc import Iterator

import numpy as np

# The number of pixels that are summed at a time, so few that they stay in the cache. It determines the order of the
# sums, so it must never change.
PIECE = 2**18


def channel_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the standard deviation of each channel, float64 [c] each.

    If a channel is constant, its standard deviation is returned as 1.

    images: uint8 or float32 [n, c, h, w].
    """
    return from_moments(moments(images), images[:, 0].size)


def moments(images: np.ndarray) -> np.ndarray:
    """Return two numbers for each channel, [2, c], from which `from_moments` computes its statistics.

    Of uint8 images these are the sum and the sum of squares, int64, which can be added up over images; of float32
    images the mean and the sum of squared differences from the mean, float64.
    """
    return np.stack((_of_bytes if images.dtype == np.uint8 else _of_floats)(images))


def from_moments(found: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the standard deviation of each channel, float64 [c] each; 1 for a constant channel.

    found: as `moments` returns it, [2, c].
    n: the number of pixels of a channel.
    """
    if found.dtype == np.int64:
        # Integers of Python are exact, so that each division below rounds once.
        totals, squares = found.tolist()
        mean = np.array([t / n for t in totals])
        variance = np.array([(n * q - t * t) / n**2 for t, q in zip(totals, squares, strict=True)])
    else:
        mean, variance = found[0], found[1] / n
    std = np.sqrt(variance)  # correctly rounded in IEEE 754
    return mean, np.where(std > 0, std, 1.0)


def target_statistics(targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the standard deviation of each target, float64 [k] each; 1 for a constant target.

    Each sum is exact and rounded once (math.fsum), so that neither the order of the samples nor the machine matters.

    targets: float32 [n, k].
    """
    n = len(targets)
    columns = [column.astype(np.float64) for column in targets.T]
    means = [math.fsum(column) / n for column in columns]
    squares = [math.fsum((column - mean) ** 2) for column, mean in zip(columns, means, strict=True)]
    std = np.sqrt(np.array(squares) / n)
    return np.array(means), np.where(std > 0, std, 1.0)


def _of_bytes(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return sum and sum of squares, int64 [c] each, of uint8 images."""
    total = square = np.zeros(images.shape[1], np.int64)
    for some in _pieces(images, most=2**16):  # so that a sum of squares is below 2**32
        wide = some.astype(np.uint32)
        total = total + wide.sum(axis=0, dtype=np.uint32).sum(axis=(1, 2), dtype=np.int64)
        square = square + (wide * wide).sum(axis=0, dtype=np.uint32).sum(axis=(1, 2), dtype=np.int64)
    return total, square


def _of_floats(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and sum of squared differences from it, float64 [c] each, of float32 images."""
    mean = _sum(some.astype(np.float64) for some in _pieces(images)) / images[:, 0].size
    means = mean[:, None, None]
    return mean, _sum((some - means) ** 2 for some in _pieces(images))


def _pieces(images: np.ndarray, most: int = PIECE) -> Iterator[np.ndarray]:
    """Yield views of the images of about PIECE pixels per channel and at most `most` images."""
    step = min(max(1, PIECE // images[0].size), most)
    for first in range(0, len(images), step):
        yield images[first : first + step]


def _sum(pieces: Iterator[np.ndarray]) -> np.ndarray:
    """Return the sum over each channel, [c], of pieces, float64 [n, c, h, w].

    The order is: over the images of a piece, then over the pieces, then over the pixels.
    """
    image: np.ndarray = np.zeros(())
    for piece in pieces:
        image = image + _fold(piece)
    return _fold(image.reshape(len(image), -1).T.copy())


def _fold(rows: np.ndarray) -> np.ndarray:
    """Return the sum over the first axis, by adding the second half to the first repeatedly; overwrites `rows`."""
    while len(rows) > 1:
        half = len(rows) // 2
        rows[:half] += rows[len(rows) - half :]
        rows = rows[: len(rows) - half]
    return rows[0]
