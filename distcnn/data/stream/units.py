"""Units: the rows of a file that are read at once, a function of the file alone.

A unit has 128 to 256 KiB, or one row, or one row of chunks, if that is more. Smaller reads in random order are slow:
cold reads of 16, 64, 256 and 1,024 KiB came at 176, 437, 848 and 975 MB/s. Larger units mix worse: with 1,000,000
sorted samples of 784 bytes and 10 classes, chi squared of 100 batches' labels is 1.7 per degree of freedom with units
of 256 rows and 4.6 with 512. Units consist of whole chunks. The number of rows is doubled, and not just multiplied, up
to that size, so that a file that is contiguous and its copies in chunks of 1, 2, 4, ... rows have the same units, and
so the same order of samples.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from distcnn.data.split import validation_count
from distcnn.numerics import random

TARGET = 2**18  # bytes of a unit at most, if that is one row or more
MOST = 2**20  # units of a large dataset, roughly, which are then larger


class Units(NamedTuple):
    """Rows that are read at once: those of a unit follow each other, in one file.

    start: the first row of each unit, counted over all files, int64 [units].
    size: the number of rows of each unit, int64 [units].
    """

    start: np.ndarray
    size: np.ndarray

    @property
    def rows(self) -> int:
        """The number of rows of all units."""
        return int(self.size.sum())

    @property
    def largest(self) -> int:
        """The number of rows of the largest unit."""
        return int(self.size.max())

    def numbers(self) -> np.ndarray:
        """Return the rows of all units, int64."""
        before = np.cumsum(self.size) - self.size
        return np.repeat(self.start - before, self.size) + np.arange(self.rows)


def unit_rows(rows: int, row_bytes: int, chunk_rows: int) -> int:
    """Return the number of rows of a unit.

    rows: of the dataset.
    row_bytes: of a decoded row, as it is stored.
    chunk_rows: of a chunk; 1 if the dataset is contiguous.
    """
    target = max(TARGET, rows * row_bytes // MOST)
    found = chunk_rows
    while 2 * found * row_bytes <= target:
        found *= 2
    return min(found, rows)


def units_of(parts: Iterable[tuple[int, int, int]]) -> Units:
    """Return the units of parts of datasets that follow each other.

    parts: (start, stop, rows of a unit) of each part; its rows are [start, stop) of a dataset.
    """
    starts, sizes, first = [], [], 0
    for start, stop, step in parts:
        begin = np.arange(start - start % step, stop, step, dtype=np.int64)
        end = np.minimum(begin + step, stop)
        begin = np.maximum(begin, start)
        starts.append(first + begin - start)
        sizes.append(end - begin)
        first += stop - start
    return Units(np.concatenate(starts), np.concatenate(sizes))


def split_off(units: Units, fraction: float, seed: int) -> tuple[Units, Units | None]:
    """Return (training, validation): the units of the training split and of the validation split, in order of the file.

    Units are drawn from strata of the file, one from each, so that they spread over it; the last one that validation
    needs may be divided between both.

    fraction: of the rows that are for validation; with 0 there is no validation split.
    seed: determines which rows these are.

    Raises DataError if the fraction is not 0 and one of the two splits would be empty.
    """
    count = validation_count(units.rows, fraction)
    if not count:
        return units, None
    chosen = _spread(units, count, seed)
    taken = np.zeros_like(units.size)
    before = np.cumsum(units.size[chosen]) - units.size[chosen]
    taken[chosen] = np.clip(count - before, 0, units.size[chosen])
    validation, rest = Units(units.start, taken), Units(units.start + taken, units.size - taken)
    return _nonempty(rest), _nonempty(validation)


def _spread(units: Units, count: int, seed: int) -> np.ndarray:
    """Return the fewest units with at least `count` rows together, one unit from each of as many strata of the file."""
    number, total = len(units.size), -(-count // units.largest)
    while True:
        edges = np.arange(total + 1) * number // total
        words = random.words(seed, random.VALIDATION_UNITS, 0, total) >> np.uint64(32)
        widths = np.diff(edges).astype(np.uint64)
        chosen = edges[:-1] + (words * widths >> np.uint64(32)).astype(np.int64)
        if units.size[chosen].sum() >= count:
            return chosen
        total += 1


def _nonempty(units: Units) -> Units:
    filled = units.size > 0
    return Units(units.start[filled], units.size[filled])
