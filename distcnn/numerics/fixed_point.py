"""Fixed point: numbers stored as int64 multiples of 2**-36, so that their addition is associative.

One flat int64 buffer holds all sums of a step over blocks and ranks: `HEAD` slots of counters, then the gradient of
every parameter in declaration order. Since integer addition is associative, neither the number of ranks nor the
algorithm of MPI's allreduce can change a bit of a total.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

SUM_BITS = 36  # a quantum of 1.5e-11 is five orders of magnitude below the rounding error of a weight
QUANTUM = 2.0**-SUM_BITS
RANGE_BITS = 27  # if the total of a batch is 2**27 or more in magnitude, it is an overflow

# Slots of the counters: three sums (adjacent, as the loss kernel adds to all three at once), two plain counts, a sum.
LOSS, CORRECT, SAMPLES, OVERFLOWS, STOP, WEIGHT = range(6)
HEAD = 8  # slots of counters: a whole cache line, so that the gradients after them stay aligned


class Counters:
    """A view of the counters at the beginning of a buffer of sums, int64, that gives each counter a name.

    loss: the sum of the losses, in quanta of 2**-36.
    correct: how many samples were classified correctly.
    samples: how many samples there were.
    overflows: how many values were replaced by 0 because they were NaN or out of range.
    stop: how many ranks have received a request to stop.
    weight: the sum of the weights of the samples' classes; 0 if classes have no weights.
    """

    def __init__(self, sums: np.ndarray) -> None:
        self.slots = sums[:HEAD]

    @property
    def loss(self) -> int:
        return int(self.slots[LOSS])

    @property
    def correct(self) -> int:
        return int(self.slots[CORRECT]) >> SUM_BITS

    @property
    def samples(self) -> int:
        return int(self.slots[SAMPLES]) >> SUM_BITS

    @property
    def totals(self) -> Totals:
        return Totals(self.loss, self.correct, self.samples)

    @property
    def overflows(self) -> int:
        return int(self.slots[OVERFLOWS])

    @overflows.setter
    def overflows(self, count: int) -> None:
        self.slots[OVERFLOWS] = count

    @property
    def stop(self) -> int:
        return int(self.slots[STOP])

    @stop.setter
    def stop(self, count: int) -> None:
        self.slots[STOP] = count

    @property
    def weight(self) -> float:
        return int(self.slots[WEIGHT]) * QUANTUM

    def clear(self) -> None:
        """Set all counters to 0."""
        self.slots[:] = 0


class Totals(NamedTuple):
    """Sums over samples.

    loss: the sum of the losses, in quanta of 2**-36.
    correct: how many samples were classified correctly.
    samples: how many samples there were.
    """

    loss: int = 0
    correct: int = 0
    samples: int = 0

    @property
    def mean_loss(self) -> float:
        """The mean loss per sample; 0 without samples."""
        return self.loss * QUANTUM / max(self.samples, 1)

    @property
    def accuracy(self) -> float:
        """The fraction of the samples that were classified correctly; 0 without samples."""
        return self.correct / max(self.samples, 1)

    def plain(self) -> tuple[int, int, int]:
        """Return the totals as a plain tuple."""
        return self.loss, self.correct, self.samples

    def plus(self, other: Totals) -> Totals:
        """Return the sums of both totals."""
        return Totals(self.loss + other.loss, self.correct + other.correct, self.samples + other.samples)


def block_limit(blocks: int) -> int:
    """Return the limit for the values of one block such that a sum over `blocks` blocks cannot overflow."""
    return 2**RANGE_BITS // max(blocks, 1)
