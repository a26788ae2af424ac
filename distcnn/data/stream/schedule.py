"""What a rank reads in an epoch: its units, in the order of the steps that need them, and not before their time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from distcnn.data.stream.order import Order, Window

IMMEDIATELY = -1
BURSTS = 16  # times of reading in the time of a window
MOST = 16  # reads of a burst


class Read(NamedTuple):
    """A unit to read, or a part of it, into the buffer of a window.

    step: the first step at which it may be read.
    place: the index of the position in the rank's share.
    window: the index of the window among those of the position.
    unit, first, last: samples [first, last) of the unit.
    target: the row of the window's buffer at which the first of them is placed.
    """

    step: int
    place: int
    window: int
    unit: int
    first: int
    last: int
    target: int


UNIT = Read._fields.index("unit")


class Turn(NamedTuple):
    """The first and the last step, counted over all epochs, that use a window."""

    first: int
    last: int


class Schedule:
    """The reads of an epoch for the positions of a rank.

    A window is read while the one before it is in use, at an even pace that leaves a quarter of that time in reserve,
    and after the window before that one was released. So a position holds two windows. The units that are due within
    some steps are read together, for all positions, because reading displaces what the steps keep in the caches.

    order: of the samples of the epoch.
    share: the positions.
    offset: the number of steps before the epoch.
    begin: the first step that is computed, counted over all epochs.
    previous: `turns` of the epoch before, if its last windows are still in use.

    windows: of each position.
    turns: of the windows of each position.
    """

    def __init__(self, order: Order, share: range, offset: int, begin: int, previous: list[list[Turn]]):
        self.order = order
        self._pause = max(int(order.piece[1]) // (int(order.width[0]) * order.windows * BURSTS), 1)
        self.windows = [order.windows_of(position) for position in share]
        self.turns = [
            [_turn(order, position, window, offset) for window in windows]
            for position, windows in zip(share, self.windows, strict=True)
        ]
        before = previous or [[] for _ in share]
        rows = [row for place in range(len(share)) for row in self._reads(place, before[place], begin)]
        reads = np.concatenate(rows) if rows else np.zeros((0, 8), np.int64)
        due, step = reads[:, 0], reads[:, 1]
        reads = reads[np.lexsort((due, step))]
        self._reads_in_order = reads[:, 1:]
        self._due, self._reach = _needs(reads[:, 0])

    def __len__(self) -> int:
        return len(self._reads_in_order)

    @property
    def largest(self) -> int:
        """The number of samples of the largest window."""
        return max((window.end - window.begin for windows in self.windows for window in windows), default=0)

    def bursts(self) -> Iterator[list[Read]]:
        """Yield the reads in order, those of the same step together, but not more than MOST of them."""
        reads = self._reads_in_order
        for burst in np.split(reads, np.flatnonzero(np.diff(reads[:, 0])) + 1):
            for first in range(0, len(burst), MOST):
                yield list(map(Read._make, burst[first : first + MOST].tolist()))

    def unit(self, k: int) -> int:
        """Return the unit of the k-th read."""
        return int(self._reads_in_order[k, UNIT])

    def needed(self, step: int) -> int:
        """Return how many of the reads must be done before a step, counted over all epochs."""
        count = bisect_right(self._due, step)
        return self._reach[count - 1] if count else 0

    def _reads(self, place: int, before: list[Turn], begin: int) -> Iterator[np.ndarray]:
        """Yield the reads of each window of a position, [units, 8]: the step that needs it, then the fields of Read."""
        turns = [*before[-2:], *self.turns[place]]
        skipped = len(turns) - len(self.turns[place])
        for k, window in enumerate(self.windows[place]):
            turn, number = turns[skipped + k], skipped + k
            if turn.last < begin:
                continue
            ranges = self.order.ranges(window)
            steps = _paced(turn, turns[number - 1] if number else None, len(ranges))
            steps -= steps % self._pause
            if number > 1:
                steps = np.minimum(np.maximum(steps, turns[number - 2].last + 1), turn.first)
            size = ranges[:, 2] - ranges[:, 1]
            fixed = (np.full(len(ranges), value) for value in (turn.first, place, k))
            due, places, windows = fixed
            yield np.stack([due, steps, places, windows, *ranges.T, np.cumsum(size) - size], axis=1)


def _needs(due: np.ndarray) -> tuple[list[int], list[int]]:
    """Return the steps that need reads, in order, and how many of the reads must be done before each of them.

    due: the step that needs each read, int64 [reads], in the order of reading.
    """
    last = {step: number + 1 for number, step in enumerate(due.tolist())}
    steps = sorted(last)
    return steps, list(accumulate((last[step] for step in steps), max))


def _turn(order: Order, position: int, window: Window, offset: int) -> Turn:
    """Return the steps that use a window of a position; offset: the number of steps before the epoch."""
    begin, width = int(order.piece[position]), int(order.width[position])
    return Turn(offset + (window.begin - begin) // width, offset + (window.end - 1 - begin) // width)


def _paced(turn: Turn, before: Turn | None, units: int) -> np.ndarray:
    """Return the first steps at which the units of a window may be read, int64 [units]."""
    if before is None:
        return np.full(units, IMMEDIATELY)
    return before.first + (turn.first - before.first) * 3 * np.arange(units) // (4 * units)
