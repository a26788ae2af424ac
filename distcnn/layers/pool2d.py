"""The base classes of pooling layers: the positions of windows, and layers that compute weighted sums over windows."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from distcnn.errors import NetError
from distcnn.kernels import tile_sizes
from distcnn.kernels import weighted_pool as kernels
from distcnn.kernels.axis import Axis
from distcnn.lanes import LANES
from distcnn.layers.base import LayerBuffers
from distcnn.layers.declarations import Call, Shape
from distcnn.layers.window2d import Window2D


class Pool2D(Window2D):
    """A pooling layer: (c, h, w) -> (c, oh, ow).

    kernel_size: a whole number, or a pair (of rows, of columns).
    stride: likewise; None for the size of the kernel.
    padding: likewise; at most half of the kernel size.
    ceil_mode: whether there are also windows that the edge of the image cuts off.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(axis.padding > axis.kernel_size // 2 for axis in self.axes):
            raise NetError(f"{self}: padding may be at most half of kernel_size")

    def pair(self, name: str, least: int) -> tuple[int, int]:
        return super().pair("kernel_size" if name == "stride" and self.stride is None else name, least)

    def output_shape(self, shape: Shape) -> Shape:
        return shape[:1] + self.window_counts(shape)

    def flops(self, shape: Shape) -> int:
        return math.prod(self.output_shape(shape)) * math.prod(self.taps)

    def is_partition(self, shape: Shape) -> bool:
        """Return whether every pixel lies in exactly one window."""
        return all(
            axis.stride == axis.kernel_size and count * axis.stride - axis.padding >= size
            for axis, count, size in self._sides(shape)
        )

    def is_whole(self, shape: Shape) -> bool:
        """Return whether every window lies inside the image."""
        return all(
            axis.padding == 0 and (count - 1) * axis.stride + axis.kernel_size <= size
            for axis, count, size in self._sides(shape)
        )

    def last_taps(self, shape: Shape) -> tuple[int, ...]:
        """Return how many rows and columns of the last window lie inside the image.

        If an edge cuts off other windows, too, return the size of the kernel.
        """
        return tuple(_last_taps(*side) for side in self._sides(shape))

    def _sides(self, shape: Shape) -> Iterator[tuple[Axis, int, int]]:
        """Return for rows and columns: the axis, how many windows lie along it, and the size of the image."""
        return zip(self.axes, self.window_counts(shape), shape[1:], strict=True)


def _last_taps(axis: Axis, count: int, size: int) -> int:
    rest = size - (count - 1) * axis.stride
    return rest if axis.padding == 0 and rest + axis.stride >= axis.kernel_size > rest else axis.kernel_size


class WeightedPool2D(Pool2D):
    """The base class of pooling layers whose output is a weighted sum over the window."""

    def axis_weights(self, axis: Axis, size: int, start: int) -> list[float]:
        """Return the weights of a window along one axis; a pixel has the product of its row's and its column's weight.

        axis: the windows along that axis.
        size: the size of the images along the axis.
        start: the pixel at which the window begins, below 0 in the padding. Weights of pixels outside the image are
            not read.
        """
        raise NotImplementedError

    def tables(self, shape: Shape) -> tuple[np.ndarray, ...]:
        """Return the weights of rows and of columns, float32 [windows, taps]."""
        return tuple(_table(self.axis_weights, *side) for side in self._sides(shape))

    def forward(
        self, buffers: LayerBuffers, factor: np.ndarray | None = None, bias: np.ndarray | None = None
    ) -> list[Call]:
        """Return the calls that compute y = factor * weighted sum + bias.

        buffers: the buffers of this layer.
        factor: float32 [c]; None for 1.
        bias: float32 [c]; None for 0.
        """
        channels = buffers.x.shape[0]
        factor = np.ones(channels, np.float32) if factor is None else factor
        bias = np.zeros(channels, np.float32) if bias is None else bias
        tables = self.tables(buffers.x.shape)
        kernel = kernels.window_forward(*self.taps, *self.last_taps(buffers.x.shape))
        return [(kernel, (buffers.x.inside, *tables, factor, bias, *self.axes, buffers.y.inside))]

    def backward(self, buffers: LayerBuffers, factor: np.ndarray | None = None) -> list[Call]:
        """Return the calls that compute dx; factor: as in `forward`."""
        if buffers.dx is None:
            return []
        factor = np.ones(buffers.x.shape[0], np.float32) if factor is None else factor
        tables = self.tables(buffers.x.shape)
        given = buffers.dy.inside, *tables, factor, *self.axes
        if self.is_partition(buffers.x.shape):
            return [(kernels.window_backward_data_apart(*self.taps), (*given, buffers.dx.inside))]
        (_, oh, ow), width, across = buffers.y.shape, buffers.x.shape[2], self.axes[1]
        columns = max(width + across.padding, ow * across.stride + across.kernel_size)
        lines = buffers.scratch.array("lines", (oh, columns, LANES))
        kernel = kernels.window_backward_data(across.kernel_size, across.stride, tile_sizes.sums(width))
        return [(kernel, (*given, lines, buffers.dx.inside))]


def _table(
    axis_weights: Callable[[Axis, int, int], list[float]], axis: Axis, count: int, size: int
) -> np.ndarray:
    starts = [k * axis.stride - axis.padding for k in range(count)]
    return np.array([axis_weights(axis, size, start) for start in starts], np.float32)


def inside(axis: Axis, size: int, start: int) -> list[int]:
    """Return the taps of a window, of 0 ... kernel_size - 1, that lie inside the image."""
    return [j for j in range(axis.kernel_size) if 0 <= start + j < size]
