"""A batch, given as arrays, cut into blocks of up to sixteen consecutive samples."""

from __future__ import annotations

import numpy as np

from distcnn.lanes import LANES
from distcnn.network.plan import Block


def blocks_of(images: np.ndarray, labels: np.ndarray | None = None) -> list[Block]:
    """Return the blocks of a batch, in order.

    images: float32 [n, c, h, w].
    labels: [n, ...]; None where they are not used.
    """
    labels = np.zeros(len(images)) if labels is None else labels
    return [Block.of(images, labels, samples) for samples in pieces_of(np.arange(len(images)))]


def pieces_of(array: np.ndarray) -> list[np.ndarray]:
    """Return views of up to sixteen consecutive samples each that together are the whole array."""
    return [array[start : start + LANES] for start in range(0, len(array), LANES)]
