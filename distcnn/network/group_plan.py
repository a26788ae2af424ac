"""A group of blocks whose norms share their statistics: plans side by side that meet where a norm needs all of them.

Up to such a meeting the blocks go one after the other. There, the rows that they have filled are put one below the
other, and the meeting's call makes of them what every block goes on with. A group of one block has no meetings: its
plan makes their calls as all others.
"""

from typing import NamedTuple

import numpy as np

from distcnn.config.types import GLOBAL
from distcnn.kernels.program import SyncPoint


def partition_unit(norm_group):
    """Return how many blocks in a row belong to one rank and one thread: a group, unless it is the whole batch."""
    return 1 if norm_group == GLOBAL else norm_group


class Segment(NamedTuple):
    """Calls from `start` to `stop` (excluded); behind them a layer is done, or the call at `stop` is a meeting."""

    start: int
    stop: int
    layer: int | None = None
    synchronizes: bool = False


def segments(calls, synchronizes, layers_end=()):
    """Return the stretches of a way: cut at the ends of layers, of which the last comes first, and at meetings."""
    last = len(layers_end) - 1
    marks = [(end, False, last - k) for k, end in enumerate(layers_end)]
    marks += [(k, True, None) for k, call in enumerate(calls) if synchronizes and isinstance(call, SyncPoint)]
    start, found = 0, []
    for stop, sync_point, layer in [*sorted(marks, key=lambda mark: mark[:2]), (len(calls), False, None)]:
        found.append(Segment(start, stop, layer, sync_point))
        start = stop + sync_point
    return found


class Group:
    """The plans of a group's blocks, made as they are needed; first: that of the first block; meets: see `stretches`.

    An exchange, of those functions that take one, is called at every meeting, also for no block: exchange(rows) gives
    the rows of all blocks of the batch for those of this group. plans: those in use after `load`.
    """

    def __init__(self, first, synchronizes):
        self.first, self.plans, self._made = first, [], [first]
        calls, ends = first.backward_program.calls, first.layers_end
        self._forward = segments(first.forward_program.calls, synchronizes)
        self._backward, self._backward_by_layer = (
            segments(calls, synchronizes),
            segments(calls, synchronizes, ends),
        )

    def prepare(self):
        """Take note of the parameters, as in Plan."""
        self.first.prepare()

    def load(self, blocks, *how):
        """Bring blocks into lanes; how: as in Plan."""
        while len(self._made) < len(blocks):
            self._made.append(self.first.for_next_block())
        self.plans = self._made[: len(blocks)]
        for plan, block in zip(self.plans, blocks, strict=True):
            plan.load(block, *how)

    def forward(self, exchange=None):
        """Compute every block's y from its x."""
        self._go(
            self.first.forward_program, [plan.forward_program for plan in self.plans], self._forward, exchange
        )

    def loss(self, smoothing=0.0):
        """Add loss and counts of all blocks to the head, and compute their dy."""
        for plan in self.plans:
            plan.loss(smoothing)

    def backward(self, done=None, exchange=None):
        """Add the parameters' gradients to their sums, last layer first; done(k) is called after layer k."""
        ways, cut = (
            [plan.backward_program for plan in self.plans],
            self._backward_by_layer if done else self._backward,
        )
        self._go(self.first.backward_program, ways, cut, exchange, done)

    def _go(self, first, ways, cut, exchange, done=None):
        for segment in cut:
            for way in ways:
                way(segment.start, segment.stop)
            if segment.synchronizes:
                kernel, (rows, *rest) = first.calls[segment.stop]
                together = [way.calls[segment.stop].arguments[0] for way in ways]
                rows = np.concatenate([rows[:0], *together])
                kernel(exchange(rows) if exchange else rows, *rest)
            elif done and segment.layer is not None:
                done(segment.layer)
