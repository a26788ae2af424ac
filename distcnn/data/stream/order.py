"""The order of samples in stream mode: a function of (seed, epoch), the sizes of the units and the batch size.

The units of an epoch form a line. The line is cut into pieces, one for each block position of a batch, so that a rank
reads the units of its positions and no others. A position takes its piece in windows of whole units, the samples of
each window in random order. The units of a window are evenly spaced in the file, so that a file that is sorted by
class mixes well: with 1,000,000 sorted samples of 10 classes, chi squared of 100 batches' labels is 1.7 per degree of
freedom, where 1 is a full shuffle and windows of neighboring units give 54.

Only integers, sorting and one division of integers below 2**53 determine the order, so it is the same on all machines.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from distcnn.kernels.sorting import sort_by_words
from distcnn.lanes import LANES
from distcnn.numerics import random

LEAST = 16  # units of a window, for a good mixture


class Window(NamedTuple):
    """Units that a position takes together: places [begin, end) of the line of samples.

    first, last: the units at places [first, last) of the line of units; the first and the last one may reach beyond
        the window.
    """

    number: int
    begin: int
    end: int
    first: int
    last: int


def window_units(window_bytes: int, positions: int, unit_bytes: int) -> int:
    """Return the largest number of units of a window of one position.

    window_bytes: of the windows of all positions together, roughly.
    positions: block positions of a batch.
    unit_bytes: of the largest unit.
    """
    return max(LEAST, window_bytes // (positions * unit_bytes))


class Order:
    """The order of the samples of an epoch.

    seed, epoch: determine the order.
    sizes: the number of samples of each unit, in order of the file, int64 [units].
    batch_size: the number of samples of a batch.
    most: the largest number of units of a window.

    width: the number of samples of each position in a batch, int64 [positions].
    piece: position p takes places [piece[p], piece[p + 1]) of the line of samples.
    line: the unit at each place of the line of units, int64 [units].
    ends: the place in the line of samples at which each place of the line of units begins, and the end.
    """

    def __init__(self, seed: int, epoch: int, sizes: np.ndarray, batch_size: int, most: int):
        self.seed, self.epoch, self.sizes = seed, epoch, sizes
        n, lane = int(sizes.sum()), LANES * np.arange(-(-batch_size // LANES))
        self.width = np.minimum(LANES, batch_size - lane)
        rest = np.clip(n % batch_size - lane, 0, self.width)  # samples in the last batch
        self.piece = np.concatenate([[0], np.cumsum(n // batch_size * self.width + rest)])
        self._widths, self._edges = self.width.tolist(), self.piece.tolist()
        self.line, self.windows = self._line(n, most)
        self.ends = np.concatenate([[0], np.cumsum(sizes[self.line])])
        self.starts = np.cumsum(sizes) - sizes

    def _line(self, n: int, most: int) -> tuple[np.ndarray, int]:
        """Return the units in the order of the line, and the number of windows of each position."""
        units = len(self.sizes)
        slot = np.arange(units)  # a place of the line, as if all units had the same size
        position = np.searchsorted(self.piece, slot * n // units, "right") - 1
        count = np.bincount(position, minlength=len(self.width))
        windows = -(-int(count.max()) // most)
        first = np.cumsum(count) - count
        window = (slot - first[position]) * windows // count[position]

        words = random.words(self.seed, random.UNIT_ORDER, self.epoch, 3 * units).reshape(3, units)
        # Each of the k slots of a window of a position asks for one of k strata of the file.
        stratum, of = _ranks(position * windows + window, words[0])
        # Positions whose windows of the same number ask for the same stratum divide it evenly.
        share, shares = _ranks(window * (units + 1) + stratum, words[1])
        fraction = (words[2] >> np.uint64(32)).astype(np.float64)
        place = ((stratum * shares + share) * 2.0**32 + fraction) / (of * shares)
        rotation = int(random.words(self.seed, random.UNIT_ROTATION, self.epoch, 1)[0] % np.uint64(units))
        line = np.empty(units, np.int64)
        line[np.argsort(place, kind="stable")] = (slot + rotation) % units
        return line, windows

    def places(self, position: int, step: int) -> tuple[int, int]:
        """Return the first place in the line of samples that a step uses for a position, and the end."""
        width = self._widths[position]
        begin = self._edges[position] + step * width
        return begin, min(begin + width, self._edges[position + 1])

    def windows_of(self, position: int) -> list[Window]:
        """Return the windows of a position that have samples, in order."""
        begin, end = int(self.piece[position]), int(self.piece[position + 1])
        if begin == end:
            return []
        first = int(np.searchsorted(self.ends, begin, "right")) - 1
        last = int(np.searchsorted(self.ends, end, "left"))
        cuts = first + (last - first) * np.arange(self.windows + 1) // self.windows
        edges = np.clip(self.ends[cuts], begin, end).tolist()
        pairs = zip(range(self.windows), edges, edges[1:], cuts.tolist(), cuts.tolist()[1:], strict=False)
        return [Window(*each) for each in pairs if each[1] < each[2]]

    def shuffled(self, position: int, window: Window) -> np.ndarray:
        """Return the random order of the places of a window: numbers from 0 to its size, int64."""
        stream = position * self.windows + window.number + 1
        words = random.words(self.seed, random.WINDOW_ORDER, self.epoch, window.end - window.begin, stream)
        return sorted_by(words)

    def ranges(self, window: Window) -> np.ndarray:
        """Return (unit, first, last) of each unit of a window, int64 [units, 3]: its samples [first, last) are used."""
        begin, end = self.ends[window.first : window.last], self.ends[window.first + 1 : window.last + 1]
        first = np.maximum(window.begin - begin, 0)
        last = np.minimum(window.end, end) - begin
        return np.stack([self.line[window.first : window.last], first, last], axis=1)

    def numbers(self, window: Window) -> np.ndarray:
        """Return the numbers of the samples of a window in order of the line: those of its units, int64."""
        unit, first, last = self.ranges(window).T
        size = last - first
        before = np.cumsum(size) - size  # samples of the window in earlier units
        found = np.repeat(self.starts[unit] + first - before, size)
        found += np.arange(len(found))
        return found


def sorted_by(words: np.ndarray) -> np.ndarray:
    """Return the indices of random words by ascending word, those of equal words in ascending order, int64."""
    bits = max(len(words).bit_length() - 1, 1)
    order = np.empty(len(words), np.int64)
    sort_by_words(words, bits, np.empty(2**bits, np.int64), order)
    return order


def _ranks(groups: np.ndarray, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rank of each element among those of its group, by random words, and the size of its group."""
    order = np.lexsort((words, groups))
    ordered = groups[order]
    rank = np.empty(len(groups), np.int64)
    rank[order] = np.arange(len(groups)) - np.searchsorted(ordered, ordered)
    _, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    return rank, counts[inverse]
