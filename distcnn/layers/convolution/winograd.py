"""Winograd's algorithm for a 3 x 3 convolution of stride 1.

A few tiles at a time are transformed, so that their values at the 36 points stay in the cache. How many is the same on
every machine, since it determines the order of the sums in the gradient of the weights.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from distcnn.kernels import tile_sizes
from distcnn.kernels import winograd as kernels
from distcnn.kernels.axis import Axis
from distcnn.kernels.jit import Kernel
from distcnn.lanes import LANES
from distcnn.layers.base import LayerBuffers
from distcnn.layers.convolution.algorithm import Algorithm
from distcnn.layers.declarations import Array, Call, Shape
from distcnn.layers.values import Border, Scratch
from distcnn.layers.window2d import Filters2D

POINTS = kernels.POINTS
POINT_ONE = 7  # of the 6 x 6 points, the one at (1, 1)
TOGETHER = 4  # tiles that are transformed at a time; the gradient of the weights sums so many at a time
OUTPUTS = 32  # channels that are transformed back at a time, while they are in the cache; a multiple of 4


class Grid(NamedTuple):
    """The numbers of rows and columns of 4 x 4 tiles that cover an image."""

    down: int
    across: int

    @classmethod
    def over(cls, height: int, width: int) -> "Grid":
        """Return the smallest grid that covers an image of height x width pixels."""
        return cls(-(-height // 4), -(-width // 4))

    def shares(self, count: int) -> Iterator[tuple[int, int]]:
        """Yield (first tile, number of tiles) for all tiles, up to `count` at a time."""
        total = self.down * self.across
        for start, stop in pairwise([*range(0, total, count), total]):
            yield start, stop - start


def is_faster(channels: int, outputs: int, height: int, width: int) -> bool:
    """Return whether this algorithm is faster than the direct one, for the forward pass and the gradient of the data.

    Measured at 16 x 16: 8 to 8 channels 1.6 times as fast, 16 to 16 2.2 times, 64 to 64 three times. At least half of
    the pixels of the tiles should lie inside the image.

    channels, outputs: the numbers of channels of the input and of the output.
    height, width: the size of the output.
    """
    grid = Grid.over(height, width)
    return channels * outputs >= 64 and 2 * height * width >= 16 * grid.down * grid.across


def is_faster_for_weights(channels: int, outputs: int, height: int, width: int) -> bool:
    """Return whether this algorithm is faster for the gradient of the weights; arguments as in `is_faster`.

    Measured: 16 to 8 channels 1.3 times as fast, 16 to 16 1.8 times.
    """
    return channels >= LANES and is_faster(channels, outputs, height, width)


def fits(layer: Filters2D, shape: Shape) -> bool:
    """Return whether this algorithm can compute a layer on images of `shape`, and is faster than the direct one."""
    down, across = layer.axes
    plain = down == across == Axis(3, 1, down.padding) and layer.groups == 1
    return plain and is_faster(shape[0], *layer.output_shape(shape))


def fits_weights(layer: Filters2D, shape: Shape) -> bool:
    """Return whether this algorithm is also faster for the gradient of the weights of a layer for which it `fits`."""
    return is_faster_for_weights(shape[0], *layer.output_shape(shape))


class Winograd(Algorithm):
    """Winograd's algorithm with tiles of 4 x 4 outputs."""

    over_input = True

    @property
    def border(self) -> Border:
        """The padding, and the pixels that complete the last tiles."""
        grid, padding, (_, h, w) = Grid.over(self.height, self.width), self.across.padding, self.shape
        return Border(padding, 4 * grid.across + 2 - padding - w, padding, 4 * grid.down + 2 - padding - h)

    @property
    def weights_border(self) -> Border:
        """The pixels that complete the last tiles of dy."""
        grid = Grid.over(self.height, self.width)
        return Border(0, 4 * grid.across - self.width, 0, 4 * grid.down - self.height)

    @property
    def data_border(self) -> Border:
        """The pixels that windows over dy cover beyond its edges, and those that complete the last tiles of dx."""
        padding, (_, h, w) = self.across.padding, self.shape
        grid, before = Grid.over(h, w), max(0, 2 - padding)
        right, bottom = 4 * grid.across + 2 - w - padding, 4 * grid.down + 2 - h - padding
        return Border(before, max(0, right), before, max(0, bottom))

    def prepared(self, with_dx: bool) -> dict[str, Array]:
        """Return the declarations of the transformed filters, and of filters rotated by 180 degrees for dx."""
        filters = {"filters": _filters(self.outputs, self.shape[0])}
        return filters | ({"rotated_filters": _filters(self.shape[0], self.outputs)} if with_dx else {})

    def prepare(self, buffers: LayerBuffers) -> list[Call]:
        weight, taps = buffers.parameters["weight"], buffers.scratch.array("taps", (LANES, LANES))
        calls = []
        for rotated, name in enumerate(("filters", "rotated_filters")):
            if name in buffers.prepared:
                u = buffers.prepared[name]
                u = u.reshape(*u.shape[:2], -1, LANES)
                weights = weight.reshape(*weight.shape[:2], 9)
                calls.append((kernels.winograd_filters, (weights, rotated, taps, u)))
        return calls

    def forward(self, buffers: LayerBuffers, bias: np.ndarray) -> list[Call]:
        x, y, filters = buffers.x.bordered(self.border), buffers.y.inside, buffers.prepared["filters"]
        finish = kernels.winograd_outputs(buffers.relu, False)
        return correlation_calls(buffers.scratch, x, filters, bias, y, y, finish)

    def backward_weights(self, buffers: LayerBuffers) -> list[Call]:
        """Return the calls that add the gradients of the weight and the bias to their sums.

        At the point (1, 1), a tile of dy is the sum of its pixels; the gradient of the bias is the sum of these.
        """
        x, dy = buffers.x.bordered(self.border), buffers.dy.bordered(self.weights_border)
        sums, scratch, grid = buffers.sums["weight"], buffers.scratch, Grid.over(self.height, self.width)
        outputs, channels = sums.shape[:2]
        rows, columns = tile_sizes.winograd_weights(outputs, channels)
        padded, groups = -(-outputs // rows) * rows, -(-channels // (LANES * columns)) * columns
        d = scratch.array("d", (POINTS, padded, groups, LANES))
        calls: list[Call] = []
        product = kernels.winograd_weight_products(rows, columns)
        for first, count in grid.shares(TOGETHER):
            v = scratch.array("v", (POINTS, channels, count, LANES))
            y = scratch.array("m", (POINTS, padded, count, LANES))
            vt = scratch.array("vt", (groups, count, LANES, LANES))
            calls.append((kernels.winograd_inputs, (x, first, grid.across, v)))
            calls.append((kernels.winograd_gradients, (dy, first, grid.across, y)))
            calls += self.bias_calls(buffers, y[POINT_ONE, None, :outputs, None])
            calls.append((product, (v, y, int(first == 0), vt, d)))
        memory = scratch.array("side by side", (1, 9 * LANES + LANES))
        side_by_side = np.lib.stride_tricks.as_strided(memory, (LANES, 1, LANES), (36, 64, 4))
        taps, flat = scratch.array("taps", (LANES, LANES)), sums.reshape(outputs, channels * 9)
        return [*calls, (kernels.winograd_weight_sums, (d, taps, side_by_side, flat, buffers.guard))]

    def backward_data(self, buffers: LayerBuffers) -> list[Call]:
        """Return the calls that compute dx: they correlate dy with the rotated filters."""
        x, dx, filters = buffers.x.inside, buffers.dx.inside, buffers.prepared["rotated_filters"]
        grid, start = Grid.over(*self.shape[1:]), self.across.padding - 2
        dy = buffers.dy.window(start, start, 4 * grid.down + 2, 4 * grid.across + 2)
        nothing = np.zeros(self.shape[0], np.float32)
        finish = kernels.winograd_outputs(False, buffers.mask)
        return correlation_calls(buffers.scratch, dy, filters, nothing, x, dx, finish)


def _filters(outputs: int, channels: int) -> Array:
    """Declare the transformed filters, [36, groups of 4 outputs, channels rounded up to a multiple of 4, 4]."""
    return Array((POINTS, -(-outputs // 4), -(-channels // 4) * 4, 4), spread=True)


def correlation_calls(
    scratch: Scratch,
    x: np.ndarray,
    u: np.ndarray,
    bias: np.ndarray,
    test: np.ndarray,
    y: np.ndarray,
    finish: Kernel,
) -> list[Call]:
    """Return the calls that correlate x with filters.

    scratch: temporary memory.
    x: [1, c, h, w, 16], from the corner of the first tile on.
    u: the transformed filters.
    bias: [outputs].
    test: an array of the shape of y; if `finish` applies a mask, y is 0 where `test` is not above 0.
    y: [1, outputs, oh, ow, 16], which the calls write.
    finish: a kernel made by `winograd_outputs`.
    """
    (_, channels, _, _, _), (_, outputs, oh, ow, _) = x.shape, y.shape
    grid, patch = Grid.over(oh, ow), scratch.array("patch", (4, 4, LANES))
    calls: list[Call] = []
    for first, count in grid.shares(TOGETHER):
        v = scratch.array("v", (POINTS, channels, count, LANES))
        calls.append((kernels.winograd_inputs, (x, first, grid.across, v)))
        product = kernels.winograd_products(tile_sizes.winograd(count))
        for start, stop in pairwise([*range(0, outputs, OUTPUTS), outputs]):
            groups = u[:, start // 4 : -(-stop // 4)]
            m = scratch.array("m", (POINTS, 4 * groups.shape[1], count, LANES))
            calls.append((product, (groups, v, m)))
            arrays = m, bias[start:stop], test[:, start:stop], y[:, start:stop]
            calls.append((finish, (*arrays, first, grid.across, patch)))
    return calls
