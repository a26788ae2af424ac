"""The blocks of each batch that a rank computes: a function of the seed, the epoch, the batch and the rank."""

from collections.abc import Iterator

import numpy as np

from distcnn.data.order import epoch_order
from distcnn.data.splits import Split
from distcnn.errors import DataError, LaunchError
from distcnn.kernels.jit import Kernel
from distcnn.lanes import LANES
from distcnn.network.plan import Block
from distcnn.parallel.partition import block_range
from distcnn.system.counts import counted


class Batches:
    """The batches of a split, and the blocks of each batch that one rank computes.

    Every sample is used once per epoch; the last batch of an epoch may have fewer samples. The blocks of a batch are
    numbered by position; each rank computes a contiguous range of positions.

    split: the samples.
    batch_size: the number of samples of a batch, over all ranks together.
    seed: determines the order of samples.
    rank, size: the number of this rank, and the number of ranks.
    group: how many consecutive blocks must belong to the same rank.

    positions: the number of blocks of a whole batch.
    most: the largest number of these blocks that can have samples.
    length: the number of batches of an epoch.
    share: the positions that this rank computes.
    failure: why the samples of a step cannot be read, or None. This rank then takes part in the step without blocks, so
        that all ranks learn of it.

    Raises LaunchError if there are more ranks than groups of blocks.
    """

    def __init__(
        self, split: Split, batch_size: int, seed: int, rank: int, size: int, group: int = 1
    ) -> None:
        self.split, self.batch_size, self.seed = split, batch_size, seed
        self.failure: DataError | None = None
        self.positions = -(-batch_size // LANES)
        self.most = -(-min(batch_size, len(split.labels)) // LANES)
        self.length = -(-len(split.labels) // batch_size)
        self.share = block_range(self.positions, rank, size, group)
        groups = -(-self.positions // group)
        if size > groups:
            grouped = f" in {counted(groups, 'group')}, each for one rank" if group > 1 else ""
            blocks, most = counted(self.positions, "block"), counted(groups, "rank")
            found = f"a batch of {batch_size} has {blocks} of {LANES} samples{grouped}"
            remedy = f"start at most {most}, or raise the batch size to {LANES * group * size}"
            raise LaunchError(f"{size} ranks, but {found}: {remedy}")

    def epoch(self, epoch: int, first: int = 0) -> Iterator[list[Block]]:
        """Yield for each batch of an epoch the list of this rank's blocks, which may be empty.

        epoch: the number of the epoch, from 0.
        first: the number of the first batch to yield.
        """
        order = epoch_order(self.seed, epoch, len(self.split.labels))
        for start in range(first * self.batch_size, len(order), self.batch_size):
            yield blocks_of(self.split, order[start : start + self.batch_size], self.share)

    @property
    def kernels(self) -> list[Kernel]:
        """All kernels that compute the order of samples, to be compiled."""
        return []

    def require_memory(self) -> None:
        """Raise DataError if reading ahead needs too much memory; in memory nothing is read ahead."""

    def close(self) -> None:
        """End whatever reads ahead; in memory nothing does."""


def blocks_of(split: Split, samples: np.ndarray, share: range) -> list[Block]:
    """Return some of the blocks of a batch.

    split: the samples.
    samples: the indices of all samples of the batch, int64 [n].
    share: the positions of the blocks to return; positions beyond the last sample have no block.
    """
    pieces = (samples[LANES * position : LANES * (position + 1)] for position in share)
    return [Block.of(split.images, split.labels, piece) for piece in pieces if len(piece)]
