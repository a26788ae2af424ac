"""Mean and standard deviation of every channel, the same bits on every machine.

Both reach the weights through the normalized images, so NumPy's float reductions, whose order depends on the
processor's vector length, cannot be used: bytes are summed as integers, floats in an order fixed here.
"""

from collections.abc import Iterator

import numpy as np

PIECE = (
    2**18
)  # pixels summed at a time: they stay in the cache; determines the order, so it must never change


def channel_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation, float64 [c] each, of images uint8 or float32 [n, c, h, w].

    A deviation of 0, in a channel that is the same everywhere, is returned as 1.
    """
    mean, variance = (_of_bytes if images.dtype == np.uint8 else _of_floats)(images)
    std = np.sqrt(variance)  # correctly rounded in IEEE 754
    return mean, np.where(std > 0, std, 1.0)


def _of_bytes(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance, float64 [c] each, of uint8 images."""
    total = square = np.zeros(images.shape[1], np.int64)
    for some in _pieces(images, most=2**16):  # so that the sum of their squares is below 2**32
        wide = some.astype(np.uint32)
        total = total + wide.sum(axis=0, dtype=np.uint32).sum(axis=(1, 2), dtype=np.int64)
        square = square + (wide * wide).sum(axis=0, dtype=np.uint32).sum(axis=(1, 2), dtype=np.int64)
    n = images[:, 0].size
    # Python's integers are exact, so that each division below rounds once.
    totals, squares = total.tolist(), square.tolist()
    variance = [(n * q - t * t) / n**2 for t, q in zip(totals, squares, strict=True)]
    return np.array([t / n for t in totals]), np.array(variance)


def _of_floats(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance, float64 [c] each, of float32 images."""
    n = images[:, 0].size
    mean = _sum(some.astype(np.float64) for some in _pieces(images)) / n
    centre = mean[:, None, None]
    return mean, _sum((some - centre) ** 2 for some in _pieces(images)) / n


def _pieces(images: np.ndarray, most: int = PIECE) -> Iterator[np.ndarray]:
    """Yield the images in pieces of PIECE pixels, but of `most` images at most."""
    step = min(max(1, PIECE // images[0].size), most)
    for first in range(0, len(images), step):
        yield images[first : first + step]


def _sum(pieces: Iterator[np.ndarray]) -> np.ndarray:
    """Return the sum, [c], of pieces float64 [n, c, h, w]: over images of a piece, then pieces, then pixels."""
    image: np.ndarray = np.zeros(())
    for piece in pieces:
        image = image + _fold(piece)
    return _fold(image.reshape(len(image), -1).T.copy())


def _fold(rows: np.ndarray) -> np.ndarray:
    """Return the sum over the first axis: the second half is added to the first, and so on; overwrites `rows`."""
    while len(rows) > 1:
        half = len(rows) // 2
        rows[:half] += rows[len(rows) - half :]
        rows = rows[: len(rows) - half]
    return rows[0]
