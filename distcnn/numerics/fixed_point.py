"""Fixed point: numbers held as int64 multiples of 2**-36, so that adding them is associative.

One flat int64 buffer holds all sums of a step over blocks and ranks: `HEAD` slots of counters, then every parameter's
gradient in declaration order. Integer addition is associative, so neither the number of ranks nor MPI's algorithm can
change a bit of the total.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

SUM_BITS = 36  # a quantum of 1.5e-11 is five orders finer than a weight's own rounding
QUANTUM = 2.0**-SUM_BITS
RANGE_BITS = 27  # a batch's total of 2**27 or more in magnitude is an overflow

# Slots of the counters: three sums (side by side, as the loss kernel adds all three at once) and two plain counts.
LOSS, CORRECT, SAMPLES, OVERFLOWS, STOP = range(5)
HEAD = 8  # slots of counters: a whole cache line, so that the gradients behind them stay aligned


class Counters:
    """The counters at the head of a buffer of sums, int64, by name; they are read from and written to the buffer.

    loss: the summed loss, in quanta of 2**-36.
    correct, samples: numbers of samples.
    overflows: the number of values that were replaced by 0, since they were NaN or out of range.
    stop: the number of ranks that were asked to stop.
    """

    def __init__(self, sums: np.ndarray):
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

    def clear(self) -> None:
        """Set all counters to 0."""
        self.slots[:] = 0


class Totals(NamedTuple):
    """What is added up over samples: the loss in quanta of 2**-36, the right answers, and the samples themselves."""

    loss: int = 0
    correct: int = 0
    samples: int = 0

    @property
    def mean_loss(self) -> float:
        """The loss of a sample; 0 without samples."""
        return self.loss * QUANTUM / max(self.samples, 1)

    @property
    def accuracy(self) -> float:
        """The part of the samples that is answered right; 0 without samples."""
        return self.correct / max(self.samples, 1)

    def plain(self) -> tuple[int, int, int]:
        """Return them as a tuple without names."""
        return self.loss, self.correct, self.samples

    def plus(self, other: Totals) -> Totals:
        """Return the totals over the samples of both."""
        return Totals(self.loss + other.loss, self.correct + other.correct, self.samples + other.samples)


def block_limit(blocks: int) -> int:
    """Return the limit below which a block's values keep the sum over `blocks` blocks from overflowing."""
    return 2**RANGE_BITS // max(blocks, 1)
