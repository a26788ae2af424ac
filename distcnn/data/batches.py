"""This rank's blocks of every batch: a function of the seed, the epoch and the batch, cut by the number of ranks."""

from distcnn.data.order import epoch_order
from distcnn.errors import LaunchError
from distcnn.lanes import LANES
from distcnn.network.plan import Block
from distcnn.parallel.partition import block_range


class Batches:
    """The batches of a part of a dataset, of which rank `rank` of `size` ranks owns a contiguous share.

    Every sample is used once an epoch; the last batch may be short. positions: the blocks of a whole batch, of which
    at most `most` hold samples; length: batches in an epoch; group: so many blocks in a row belong to one rank.

    Raises LaunchError when there are more ranks than groups of positions.
    """

    def __init__(self, part, batch_size, seed, rank, size, group=1):
        self.part, self.batch_size, self.seed = part, batch_size, seed
        self.positions = -(-batch_size // LANES)
        self.most = -(-min(batch_size, len(part.labels)) // LANES)
        self.length = -(-len(part.labels) // batch_size)
        self.share = block_range(self.positions, rank, size, group)
        most = -(-self.positions // group)
        if size > most:
            groups = f" in {most} groups, each for one rank" if group > 1 else ""
            raise LaunchError(
                f"{size} ranks, but a batch of {batch_size} has {self.positions} blocks of {LANES} samples{groups}: "
                f"start at most {most} ranks, or raise the batch size to {LANES * group * size}"
            )

    def epoch(self, epoch, first=0):
        """Yield this rank's blocks of each batch of an epoch (from 0), from batch `first` on; there may be none."""
        order = epoch_order(self.seed, epoch, len(self.part.labels))
        for start in range(first * self.batch_size, len(order), self.batch_size):
            yield blocks(self.part, order[start : start + self.batch_size], self.share)


def blocks(part, samples, share):
    """Return the blocks at the positions in `share` of a batch of samples, int64 [n]."""
    pieces = (samples[LANES * position : LANES * (position + 1)] for position in share)
    return [Block.of(part.images, part.labels, piece) for piece in pieces if len(piece)]
