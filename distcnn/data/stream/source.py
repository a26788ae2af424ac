"""Images of one split, which may lie in several datasets of several files; rows are counted over all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from distcnn.data.description import ImageArray
from distcnn.data.hdf5_file import open_hdf5
from distcnn.data.schema import pixel_value_problem
from distcnn.data.stream.storage import Storage, open_storage
from distcnn.data.stream.units import Units, unit_rows, units_of
from distcnn.errors import DataError
from distcnn.system.open_files import allow

Convert = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Part:
    """A dataset of images, or some rows of one.

    path: of its file.
    name: in the file.
    start, stop: the rows; None: to the last one.
    convert: convert(rows) returns rows as they are stored in the shape [n, c, h, w], of any type whose values `Source`
        may copy; None if only their shape may differ.
    """

    path: Path
    name: str
    start: int = 0
    stop: int | None = None
    convert: Convert | None = None


def parts_of(arrays: Iterable[ImageArray]) -> list[Part]:
    """Return the parts that arrays of images are; raise DataError if samples are not along their first axis."""
    parts = []
    for array in arrays:
        if array.axes.sample:
            found = f"{array.file}: {array.path} has the axes {array.axes}"
            wanted = "to be streamed, images must have samples first"
            raise DataError(
                f"{found}; {wanted}: store them so, with python -m distcnn.data pack {array.file} OUT.h5"
            )
        convert = None if array.is_plain else array.rows
        parts.append(Part(Path(array.file), array.path.strip("/"), array.start, array.stop, convert))
    return parts


def can_be_streamed(arrays: Iterable[ImageArray]) -> bool:
    """Return whether images can be streamed as they lie in their files."""
    return all(not array.axes.sample and not _is_virtual(array) for array in arrays)


def _is_virtual(array: ImageArray) -> bool:
    with open_hdf5(array.file) as file:
        return bool(file[array.path].is_virtual)


class Source:
    """Reads the images of datasets, or of some of their rows, that follow each other.

    parts: the datasets.
    shape: (c, h, w) of an image.
    dtype: uint8 or float32, in which images are returned.
    units: the units of all datasets.

    Raises DataError if a file is damaged.
    """

    def __init__(self, parts: Sequence[Part], shape: tuple[int, ...], dtype: np.dtype):
        self.parts, self.shape, self.dtype = parts, shape, dtype
        allow(2 * len(parts))  # each may need a descriptor of its own beside that of HDF5
        self._storages = [open_storage(part.path, part.name) for part in parts]
        ranges, steps = [], []
        for part, storage in zip(parts, self._storages, strict=True):
            rows = int(storage.shape[0])
            ranges.append((part.start, rows if part.stop is None else part.stop))
            steps.append(unit_rows(rows, storage.row_bytes, storage.chunk_rows))
        self._ends = list(accumulate(stop - start for start, stop in ranges))
        self._shifts = [stop - end for (_, stop), end in zip(ranges, self._ends, strict=True)]
        self.units: Units = units_of((*rows, step) for rows, step in zip(ranges, steps, strict=True))

    @property
    def bytes_read(self) -> int:
        """The number of bytes that were read from the files so far."""
        return sum(storage.bytes_read for storage in self._storages)

    def read(self, start: int, stop: int, out: np.ndarray) -> None:
        """Read rows [start, stop), which must lie in one dataset, to `out` [stop - start, c, h, w], contiguous.

        Raises DataError if the file is damaged or has changed since it was opened.
        """
        part, storage, shift = self._find(start)
        stored = stop - start, *storage.shape[1:]
        if part.convert is None and storage.dtype == out.dtype:
            storage.read(start + shift, stop + shift, out.reshape(stored))
            return
        rows = np.empty(stored, storage.dtype)
        storage.read(start + shift, stop + shift, rows)
        out[...] = part.convert(rows) if part.convert else rows.reshape(out.shape)

    def check(self, start: int, images: np.ndarray) -> None:
        """Raise DataError if a pixel of images, which were read from row `start` on, is not finite."""
        part, _, shift = self._find(start)
        problem = pixel_value_problem(f"/{part.name}", images, start + shift)
        if problem:
            raise DataError(f"{part.path}: {problem}")

    def advise(self, start: int, stop: int) -> None:
        """Let the system begin to read rows [start, stop), which must lie in one dataset, from the disk."""
        _, storage, shift = self._find(start)
        storage.advise(start + shift, stop + shift)

    def _find(self, row: int) -> tuple[Part, Storage, int]:
        """Return the part that contains a row, its storage, and what to add to get the number in the dataset."""
        k = int(np.searchsorted(self._ends, row, "right"))
        return self.parts[k], self._storages[k], self._shifts[k]
