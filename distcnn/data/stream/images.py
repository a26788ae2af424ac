"""The images of a split that is streamed: in place of the array that a split in memory has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import numpy as np

from distcnn.data.stream.source import Part, Source
from distcnn.data.stream.units import Units
from distcnn.lanes import LANES
from distcnn.network.plan import Block

AHEAD = 4  # units that the system is asked to read in advance


class StreamedImages:
    """Images that lie in files; like an array, they have a length, a shape and a type, and some can be read.

    source: reads rows.
    units: the rows of this split, in order of the file; sample k of the split is the k-th of these rows.
    """

    def __init__(self, source: Source, units: Units):
        self.source, self.units = source, units
        self._begins = np.cumsum(units.size) - units.size

    @classmethod
    def of_parts(cls, parts: Sequence[Part], shape: tuple[int, ...], dtype: np.dtype) -> StreamedImages:
        """Return all images of datasets that follow each other; the arguments are those of Source."""
        source = Source(parts, shape, dtype)
        return cls(source, source.units)

    def __len__(self) -> int:
        return self.units.rows

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, c, h, w)."""
        return len(self), *self.source.shape

    @property
    def dtype(self) -> np.dtype:
        """uint8 or float32."""
        return self.source.dtype

    @property
    def cold(self) -> bool:
        """Whether one of the last reads had to wait for the disk, so that `advise` is of use."""
        return self.source.cold

    @property
    def image_bytes(self) -> int:
        """The number of bytes of an image in memory."""
        return prod(self.source.shape) * self.dtype.itemsize

    def __getitem__(self, samples: np.ndarray) -> np.ndarray:
        """Return some images, [n, c, h, w]; samples: their numbers, int64 [n]."""
        found = np.empty((len(samples), *self.source.shape), self.dtype)
        for place, sample in enumerate(samples):
            unit = int(np.searchsorted(self._begins, sample, "right")) - 1
            row = int(self.units.start[unit] + sample - self._begins[unit])
            self.source.read(row, row + 1, found[place : place + 1])
        return found

    def in_order(self) -> Iterator[np.ndarray]:
        """Yield the images of one unit after the other; they are overwritten when the next ones are asked for."""
        buffer = np.empty((self.units.largest, *self.source.shape), self.dtype)
        for unit, size in enumerate(self.units.size.tolist()):
            self.advise(unit + AHEAD)
            self.read_unit(unit, 0, size, buffer[:size])
            yield buffer[:size]

    def read_unit(self, unit: int, first: int, last: int, out: np.ndarray, check: bool = True) -> None:
        """Read samples [first, last) of a unit to `out` [last - first, c, h, w]; check: see `Source.read`."""
        start = int(self.units.start[unit])
        self.source.read(start + first, start + last, out, check)

    def require_unchanged(self) -> None:
        """Raise DataError if a file has changed since it was opened."""
        self.source.require_unchanged()

    def advise(self, unit: int) -> None:
        """Let the system begin to read a unit from the disk, if there is such a unit."""
        if unit < len(self.units.size):
            start = int(self.units.start[unit])
            self.source.advise(start, start + int(self.units.size[unit]))

    def blocks(self, labels: np.ndarray, positions: range) -> Iterator[Block]:
        """Yield blocks in the order of the file; the images of a block are overwritten when the next one is asked for.

        labels: of all samples of the split, int32 [n].
        positions: block k has the samples from 16 k on.
        """
        first, last = (min(LANES * place, len(self)) for place in (positions.start, positions.stop))
        images = np.empty((self.units.largest + LANES, *self.source.shape), self.dtype)
        held = 0  # images in this array; the first of them is sample `first`
        while first + held < last:
            held += self._read_on(first + held, last, images[held:])
            count = -(-held // LANES) if first + held == last else held // LANES
            for k in range(count):
                rows = np.arange(LANES * k, min(LANES * (k + 1), held))
                yield Block.of(images, labels, first + rows, rows)
            rest = max(held - LANES * count, 0)
            images[:rest] = images[held - rest : held].copy()
            first, held = first + held - rest, rest

    def _read_on(self, sample: int, last: int, out: np.ndarray) -> int:
        """Read from a sample to the end of its unit, or to `last`; return the number of samples."""
        unit = int(np.searchsorted(self._begins, sample, "right")) - 1
        inside = sample - int(self._begins[unit])
        count = min(int(self.units.size[unit]) - inside, last - sample)
        self.advise(unit + AHEAD)
        self.read_unit(unit, inside, inside + count, out[:count])
        return count
