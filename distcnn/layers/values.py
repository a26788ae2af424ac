"""Activations of one block in memory, with zeros around the images, and temporary memory for kernel calls."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from distcnn.lanes import LANES, aligned
from distcnn.layers.declarations import Array, Shape


class Border(NamedTuple):
    """How many columns and rows of zeros lie around the images of an array."""

    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0

    def union(self, other: "Border") -> "Border":
        """Return the smallest border that contains both."""
        return Border(*map(max, self, other))


NO_BORDER = Border()


def padded(shape: Shape, border: Border) -> Shape:
    """Return the shape of an image (c, h, w) with its border; features (n,) have none."""
    left, right, top, bottom = border
    return (shape[0], shape[1] + top + bottom, shape[2] + left + right) if len(shape) == 3 else tuple(shape)


class Value:
    """The activations of one block, or their gradient, with zeros around the images.

    shape: (c, h, w) or (features,).
    border: how many zeros lie around the images.
    array: float32 [1, *padded shape, 16].
    inside: the view [1, *shape, 16] without the zeros.
    """

    def __init__(self, shape: Shape, border: Border = NO_BORDER, memory: np.ndarray | None = None) -> None:
        """Make a view of `memory`, a flat float32 array that must be 0 where the border is; None for new memory."""
        self.shape, self.border = tuple(shape), border
        whole = (1, *padded(shape, border), LANES)
        self.array = aligned(whole) if memory is None else memory[: math.prod(whole)].reshape(whole)
        self.inside = self.window(0, 0, *shape[1:]) if any(border) else self.array

    def window(self, row: int, column: int, height: int, width: int) -> np.ndarray:
        """Return a view of height x width pixels from (row, column) on; it may extend into the zeros of the border."""
        top, left = row + self.border.top, column + self.border.left
        return self.array[:, :, top : top + height, left : left + width]

    def bordered(self, border: Border) -> np.ndarray:
        """Return a view of the images with the zeros of `border`, which may be fewer than there are around them."""
        left, right, top, bottom = border
        height, width = self.shape[1:]
        return self.window(-top, -left, top + height + bottom, left + width + right)

    def samples(self, count: int) -> np.ndarray:
        """Return a view of the first `count` samples, [count, *shape]."""
        return np.moveaxis(self.inside[0], -1, 0)[:count]

    def set_samples(self, values: np.ndarray) -> None:
        """Write up to sixteen samples, [n, *shape], into the lanes, and 0 into the other lanes."""
        self.inside[0, ..., len(values) :] = 0
        self.inside[0, ..., : len(values)] = np.moveaxis(values, 0, -1)

    @property
    def rows(self) -> np.ndarray:
        """The view `inside` with five axes; features become an image of one row."""
        return self.inside if self.inside.ndim == 5 else self.inside[:, None, None]

    @property
    def channels(self) -> np.ndarray:
        """The view `inside` with five axes; features become the channels of one pixel."""
        return self.inside if self.inside.ndim == 5 else self.inside[:, :, None, None]


class Scratch:
    """Temporary memory that the calls of a plan use one after the other.

    Arrays of the same name share memory, which is as large as the largest array requested so far.
    """

    def __init__(self) -> None:
        self._buffers: dict[str, np.ndarray] = {}

    def array(self, name: str, shape: Shape) -> np.ndarray:
        """Return an array with the memory layout of `planes`; its content is undefined at the beginning of each call.

        name: arrays of the same name share memory.
        shape: the shape of the array.
        """
        if self._buffers.get(name, np.empty(0)).size < planes_size(shape):
            self._buffers[name] = aligned((planes_size(shape),))
        return planes(shape, self._buffers[name])


def planes_size(shape: Shape) -> int:
    """Return how many float32 numbers of memory an array of this shape made by `planes` needs."""
    return shape[0] * (-(-math.prod(shape[1:]) // LANES) | 1) * LANES


def planes(shape: Shape, memory: np.ndarray | None = None) -> np.ndarray:
    """Return a float32 array in which the stride of the first axis is an odd number of cache lines.

    If the stride were a power of two, all neighbors on that axis would fall into the same set of the cache.

    shape: the shape of the array.
    memory: a flat array of at least `planes_size` numbers, of which the result is a view; None for new memory.
    """
    size, plane = planes_size(shape), math.prod(shape[1:])
    memory = aligned((size,)) if memory is None else memory[:size]
    return memory.reshape(shape[0], -1)[:, :plane].reshape(shape)


def allocate_arrays(declared: Mapping[str, Array | Shape]) -> dict[str, np.ndarray]:
    """Return an array of zeros for each declaration, by name; a plain shape means float32."""
    return {name: _allocated(each) for name, each in declared.items()}


def _allocated(declared: Array | Shape) -> np.ndarray:
    if not isinstance(declared, Array):
        return aligned(declared)
    return planes(declared.shape) if declared.spread else aligned(declared.shape, np.dtype(declared.dtype))
