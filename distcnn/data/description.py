"""What is known of a dataset before its samples are read: which arrays hold it, and what their values become.

A Description has, for each split, the arrays of images and of labels, one after the other. It is plain data, which one
rank makes and sends to all. `ImageArray.rows` turns rows as they are stored, of any type and with any axes, into images
as training sees them; whoever reads the rows, and in whatever pieces, uses it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from distcnn.data.axes import Axes
from distcnn.data.file_states import States
from distcnn.data.labels import Coding

SPLITS = ("train", "test", "validation")
INTEGERS = ("int8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
FLOATS = ("float16", "float32", "float64")


@dataclass(frozen=True)
class Array:
    """Some rows of an HDF5 dataset.

    file: the path of the file.
    path: the absolute path of the dataset in the file.
    start, stop: the rows, along the axis of samples.
    sources: the paths of other files, in which the data of a virtual dataset lie.
    """

    file: str
    path: str
    start: int
    stop: int
    sources: tuple[str, ...] = field(default=(), kw_only=True)

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class ImageArray(Array):
    """An array of images.

    shape: of the whole dataset, as it is stored.
    dtype: of the whole dataset, as NumPy writes it, with the byte order: "|u1", ">f4".
    axes: as they are stored.
    """

    shape: tuple[int, ...]
    dtype: str
    axes: Axes

    @property
    def image(self) -> tuple[int, int, int]:
        """The shape (c, h, w) of an image."""
        _, c, h, w = self.axes.nchw(self.shape)
        return c, h, w

    @property
    def pixels(self) -> str:
        """The name of the stored type without its byte order, such as "uint16"."""
        return np.dtype(self.dtype).name

    @property
    def becomes(self) -> str:
        """The name of the type that training sees: "uint8" or "float32"."""
        return "uint8" if self.pixels in ("uint8", "bool") else "float32"

    @property
    def scale(self) -> str:
        """The name of the type that says what values mean: floats of all sizes are "float32", False and True bytes."""
        return self.becomes if self.pixels in ("uint8", "bool", *FLOATS) else self.pixels

    @property
    def nbytes(self) -> int:
        """The bytes of the images, as training sees them."""
        return len(self) * prod(self.image) * np.dtype(self.becomes).itemsize

    @property
    def is_plain(self) -> bool:
        """Whether the stored rows, in any byte order, are what training sees, with or without the axis of channels."""
        return self.pixels == self.becomes and self.axes in (Axes("NCHW"), Axes("NHW"))

    def rows(self, stored: np.ndarray) -> np.ndarray:
        """Return stored images as uint8 or float32 [n, c, h, w], contiguous and in native byte order.

        Bytes and float32 stay as they are, False and True become 0 and 255; all other numbers become the nearest
        float32, without scaling.

        stored: some of the images, as they are stored.
        """
        turned = self.axes.turned(stored)
        if turned.dtype.kind == "b":
            return np.multiply(turned, 255, dtype=np.uint8, order="C")
        with np.errstate(over="ignore"):  # what exceeds float32 becomes infinite, and is refused then
            return np.ascontiguousarray(turned, np.dtype(self.becomes))


@dataclass(frozen=True)
class SplitArrays:
    """The arrays of a split, in order; labels: () if the split has none."""

    images: tuple[ImageArray, ...]
    labels: tuple[Array, ...] = ()

    def __len__(self) -> int:
        return sum(map(len, self.images))


@dataclass(frozen=True)
class Description:
    """The arrays of a dataset.

    files: the paths of all files, in the order in which the user named them.
    splits: by name; train first.
    coding: how labels become numbers of classes; None if no split has labels.
    seal: the seal that the file bears, see `fingerprint`; None if it has none.
    own: whether the file has distcnn's own layout.
    settings: the settings that name all this, {} if nothing had to be found out; see `data.settings`.
    notes: lines for the user, on what is not used and the like.
    states: of all files that hold data, when they were looked at.
    """

    files: tuple[str, ...]
    splits: dict[str, SplitArrays]
    coding: Coding | None
    seal: str | None = None
    own: bool = True
    settings: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = field(default=(), compare=False)
    states: States = field(default_factory=dict, compare=False)

    @property
    def first(self) -> ImageArray:
        """The first array of images."""
        return next(iter(self.splits.values())).images[0]
