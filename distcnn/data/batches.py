"""A rank's blocks of every batch: a function of the seed, the epoch and the batch, divided among the ranks."""

from collections.abc import Iterator

import numpy as np

from distcnn.data.dataset import Split
from distcnn.data.order import epoch_order
from distcnn.errors import LaunchError
from distcnn.lanes import LANES
from distcnn.network.plan import Block
from distcnn.parallel.partition import block_range


class Batches:
    """The batches of a split, and the contiguous range of block positions in each that one rank computes.

    Every sample is used once an epoch; the last batch may be short.

    split: the samples
    batch_size: samples of a batch, over all ranks together
    seed: chooses the order of samples
    rank, size: which rank this is, of how many
    group: so many consecutive blocks belong to one rank

    positions: blocks of a whole batch
    most: of these, so many hold samples at most
    length: batches of an epoch
    share: the positions that this rank computes

    Raises LaunchError when there are more ranks than groups of positions.
    """

    def __init__(
        self, split: Split, batch_size: int, seed: int, rank: int, size: int, group: int = 1
    ) -> None:
        self.split, self.batch_size, self.seed = split, batch_size, seed
        self.positions = -(-batch_size // LANES)
        self.most = -(-min(batch_size, len(split.labels)) // LANES)
        self.length = -(-len(split.labels) // batch_size)
        self.share = block_range(self.positions, rank, size, group)
        groups = -(-self.positions // group)
        if size > groups:
            parts = f" in {groups} groups, each for one rank" if group > 1 else ""
            found = f"a batch of {batch_size} has {self.positions} blocks of {LANES} samples{parts}"
            remedy = f"start at most {groups} ranks, or raise the batch size to {LANES * group * size}"
            raise LaunchError(f"{size} ranks, but {found}: {remedy}")

    def epoch(self, epoch: int, first: int = 0) -> Iterator[list[Block]]:
        """Yield this rank's blocks of each batch of an epoch, perhaps none.

        epoch: from 0
        first: the batch to begin with
        """
        order = epoch_order(self.seed, epoch, len(self.split.labels))
        for start in range(first * self.batch_size, len(order), self.batch_size):
            yield blocks_of(self.split, order[start : start + self.batch_size], self.share)


def blocks_of(split: Split, samples: np.ndarray, share: range) -> list[Block]:
    """Return some blocks of a batch.

    samples: of the whole batch, int64 [n]
    share: positions of the wanted blocks in the batch; those beyond the last sample are left out
    """
    pieces = (samples[LANES * position : LANES * (position + 1)] for position in share)
    return [Block.of(split.images, split.labels, piece) for piece in pieces if len(piece)]
