"""What is packed: the images of each split in pieces that can be read alone, the labels, and what else is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Protocol

import numpy as np

from distcnn.config.types import CLASSIFY
from distcnn.data.description import FLOATS, ImageArray
from distcnn.data.file_states import States
from distcnn.data.reading import read_stored
from distcnn.data.schema import pixel_value_problem
from distcnn.errors import DataError


class Piece(Protocol):
    """Some images that follow each other. It can be pickled, so that another process can read it."""

    def read(self) -> np.ndarray:
        """Return the images [n, c, h, w]; raise DataError if that fails."""


class Rows(Protocol):
    """The images of a split: their number, the shape (c, h, w) of each, and their type, little-endian."""

    @property
    def count(self) -> int: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    def pieces(self, step: int) -> Iterator[Piece]:
        """Yield all images in order, `step` at a time."""


Labels = Callable[[], np.ndarray]


@dataclass(frozen=True)
class Content:
    """All that is packed.

    splits: (images, labels) of each split, train first; labels is a function that returns them as training sees
        them, so that only the rank that writes them reads them; or None if they are not known.
    classes: the names of the classes, or None to leave them numbers.
    attributes: further attributes of the file.
    seal: of the source, see `fingerprint`, which holds for the same samples wherever they lie; None if it has none.
    states: of the files, which must not change meanwhile.
    is_costly: whether reading takes so long that several processes pay.
    notes: lines for the user, on what is not used and the like.
    task: the name of the task that the labels are for.
    """

    splits: Mapping[str, tuple[Rows, Labels | None]]
    classes: tuple[str, ...] | None
    attributes: dict[str, str] = field(default_factory=dict)
    seal: str | None = None
    states: States = field(default_factory=dict)
    is_costly: bool = False
    notes: tuple[str, ...] = ()
    task: str = CLASSIFY


@dataclass(frozen=True)
class MemoryRows:
    """Images that lie in memory, [n, c, h, w]."""

    images: np.ndarray

    @property
    def count(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.images.shape[1:]

    @property
    def dtype(self) -> np.dtype:
        return self.images.dtype.newbyteorder("<")

    def pieces(self, step: int) -> Iterator[Piece]:
        return (MemoryPiece(self.images[first : first + step]) for first in range(0, self.count, step))


@dataclass(frozen=True)
class MemoryPiece:
    """Some images that lie in memory."""

    images: np.ndarray

    def read(self) -> np.ndarray:
        return self.images


@dataclass(frozen=True)
class FileRows:
    """The images of HDF5 datasets that follow each other.

    Numbers keep their type, and False and True become bytes, as training sees them: so the packed file means the same.
    """

    arrays: tuple[ImageArray, ...]

    @property
    def count(self) -> int:
        return sum(map(len, self.arrays))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.arrays[0].image

    @property
    def dtype(self) -> np.dtype:
        return np.result_type(*map(_kept, self.arrays)).newbyteorder("<")

    def pieces(self, step: int) -> Iterator[Piece]:
        for first in range(0, self.count, step):
            yield FilePiece(tuple(_between(self.arrays, first, first + step)), self.shape, self.dtype)


@dataclass(frozen=True)
class FilePiece:
    """Rows of HDF5 datasets; shape and dtype: what they become."""

    arrays: tuple[ImageArray, ...]
    shape: tuple[int, ...]
    dtype: np.dtype

    def read(self) -> np.ndarray:
        found = np.empty((sum(map(len, self.arrays)), *self.shape), self.dtype)
        first = 0
        for array in self.arrays:
            stored = read_stored(array)
            _check(array, stored)
            turned = array.axes.turned(stored)
            found[first : first + len(array)] = turned if turned.dtype.kind != "b" else array.rows(stored)
            first += len(array)
        return found


def row_bytes(rows: Rows) -> int:
    """Return the number of bytes of an image, as it is packed."""
    return prod(rows.shape) * rows.dtype.itemsize


def _kept(array: ImageArray) -> np.dtype:
    """Return the type that stored images keep."""
    return np.dtype(np.uint8 if array.pixels == "bool" else array.pixels)


def _between(arrays: Sequence[ImageArray], first: int, last: int) -> Iterator[ImageArray]:
    """Yield rows [first, last) of arrays that follow each other, as arrays."""
    for array in arrays:
        start, stop = max(first, 0), min(last, len(array))
        if start < stop:
            yield replace(array, start=array.start + start, stop=array.start + stop)
        first, last = first - len(array), last - len(array)


def _check(array: ImageArray, stored: np.ndarray) -> None:
    """Raise DataError if a pixel is not finite, or exceeds float32."""
    if array.pixels in FLOATS and (
        problem := pixel_value_problem(array.path, array.rows(stored), array.start)
    ):
        raise DataError(f"{array.file}: {problem}")
