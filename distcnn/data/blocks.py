"""Blocks of a split in the order of the file, for evaluation and prediction."""

from collections.abc import Iterator

import numpy as np

from distcnn.data.splits import Split
from distcnn.data.stream.images import StreamedImages
from distcnn.lanes import LANES
from distcnn.network.plan import Block


def blocks_in_order(split: Split, positions: range) -> Iterator[Block]:
    """Yield the blocks at some positions of a split; block k has the samples from 16 k on.

    A block must be used before the next one is asked for. Raises DataError if images of a file cannot be read.
    """
    if isinstance(split.images, StreamedImages):
        yield from split.images.blocks(split.labels, positions)
        return
    for position in positions:
        samples = np.arange(LANES * position, min(LANES * (position + 1), len(split.labels)))
        yield Block.of(split.images, split.labels, samples)
