"""The calls of a 3 x 3 convolution of stride 1 by Winograd's algorithm: what `Conv2D` uses where it pays.

Tiles go through the transforms a few at a time, so that what lies at the 36 points stays in the cache. How many is
the same on every machine, for it splits the sum of the weights' gradient.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from distcnn.kernels import tile_sizes
from distcnn.kernels import winograd as kernels
from distcnn.kernels.axis import Axis
from distcnn.lanes import LANES
from distcnn.layers.base import Border, planes
from distcnn.layers.convolution.direct import Direct

POINTS = kernels.POINTS
POINT_ONE = 7  # of the 6 x 6 points, the one at (1, 1)
TOGETHER = 4  # tiles that go through the transforms before the next ones; the weights' gradient sums so many at a time
OUTPUTS = 32  # done together, so that what is transformed back is still in the cache; a multiple of 4


class Grid(NamedTuple):
    """The tiles of 4 x 4 that cover an image of h x w."""

    down: int
    across: int

    @classmethod
    def over(cls, height, width):
        """Return the grid that covers such an image."""
        return cls(-(-height // 4), -(-width // 4))

    def shares(self, count):
        """Yield (first tile, number of tiles) for all tiles, up to `count` at a time."""
        total = self.down * self.across
        for start, stop in pairwise([*range(0, total, count), total]):
            yield start, stop - start


def is_faster(channels, outputs, height, width):
    """Tell whether forward pass and gradient of the data are faster this way, for outputs of height x width.

    Measured at 16 x 16: 8 to 8 channels 1.6 times as fast as directly, 16 to 16 2.2 times, 64 to 64 three times. Of
    what the tiles compute at least half should lie inside the image.
    """
    grid = Grid.over(height, width)
    return channels * outputs >= 64 and 2 * height * width >= 16 * grid.down * grid.across


def pays_for_weights(channels, outputs, height, width):
    """Tell whether the gradient of the weights is: 16 to 8 channels 1.3 times, 16 to 16 1.8 times as fast."""
    return channels >= LANES and is_faster(channels, outputs, height, width)


def fits(layer, shape):
    """Tell whether this can be done for a Conv2D, and pays."""
    down, across = layer.axes
    plain = down == across == Axis(3, 1, down.padding) and layer.groups == 1
    return plain and is_faster(shape[0], *layer.output_shape(shape))


def fits_weights(layer, shape):
    """Tell whether it does for the gradient of the weights; only where it `fits`."""
    return pays_for_weights(shape[0], *layer.output_shape(shape))


class Winograd(Direct):
    """Winograd's algorithm for a Conv2D; see Direct."""

    over_input = True

    @property
    def border(self):
        """The padding, and what completes the last tiles."""
        grid, padding, (_, h, w) = Grid.over(self.height, self.width), self.across.padding, self.shape
        return Border(padding, 4 * grid.across + 2 - padding - w, padding, 4 * grid.down + 2 - padding - h)

    @property
    def weights_border(self):
        """What completes the last tiles of dy."""
        grid = Grid.over(self.height, self.width)
        return Border(0, 4 * grid.across - self.width, 0, 4 * grid.down - self.height)

    @property
    def data_border(self):
        """What the padding leaves of the filters' size, and what completes the last tiles of dx."""
        padding, (_, h, w) = self.across.padding, self.shape
        grid, before = Grid.over(h, w), max(0, 2 - padding)
        right, bottom = 4 * grid.across + 2 - w - padding, 4 * grid.down + 2 - h - padding
        return Border(before, max(0, right), before, max(0, bottom))

    def prepare(self, buffers):
        buffers.filters = filters(self.outputs, self.shape[0])
        calls = filter_calls(buffers, buffers.filters, rotated=False)
        if buffers.dx:
            buffers.rotated_filters = filters(self.shape[0], self.outputs)
            calls += filter_calls(buffers, buffers.rotated_filters, rotated=True)
        return calls

    def forward(self, buffers, bias):
        x, y = buffers.x.bordered(self.border), buffers.y.inside
        return correlation_calls(buffers.scratch, x, buffers.filters, bias, y, y, buffers.relu, False)

    def backward_data(self, buffers):
        """The same with rotated filters."""
        x, dx = buffers.x.inside, buffers.dx.inside
        grid, start = Grid.over(*self.shape[1:]), self.across.padding - 2
        dy = buffers.dy.window(start, start, 4 * grid.down + 2, 4 * grid.across + 2)
        nothing = np.zeros(self.shape[0], np.float32)
        return correlation_calls(
            buffers.scratch, dy, buffers.rotated_filters, nothing, x, dx, False, buffers.mask
        )

    def backward_weights(self, buffers):
        """At the point (1, 1) a tile of dy is the sum over its pixels, which the bias's gradient is made of."""
        x, dy = buffers.x.bordered(self.border), buffers.dy.bordered(self.weights_border)
        sums, scratch, grid = buffers.sums["weight"], buffers.scratch, Grid.over(self.height, self.width)
        outputs, channels = sums.shape[:2]
        rows, columns = tile_sizes.winograd_weights(outputs, channels)
        padded, groups = -(-outputs // rows) * rows, -(-channels // (LANES * columns)) * columns
        d, calls = scratch.array("d", (POINTS, padded, groups, LANES)), []
        product = kernels.winograd_weight_products(rows, columns)
        for first, count in grid.shares(TOGETHER):
            v = scratch.array("v", (POINTS, channels, count, LANES))
            y = scratch.array("m", (POINTS, padded, count, LANES))
            vt = scratch.array("vt", (groups, count, LANES, LANES))
            calls.append((kernels.winograd_inputs, (x, first, grid.across, v)))
            calls.append((kernels.winograd_gradients, (dy, first, grid.across, y)))
            calls += self.bias_calls(buffers, y[POINT_ONE, None, :outputs, None])
            calls.append((product, (v, y, int(first == 0), vt, d)))
        side_by_side = np.lib.stride_tricks.as_strided(
            scratch.array("side by side", (1, 9 * LANES + LANES)), (LANES, 1, LANES), (36, 64, 4)
        )
        taps, flat = scratch.array("taps", (LANES, LANES)), sums.reshape(outputs, channels * 9)
        return [*calls, (kernels.winograd_weight_sums, (d, taps, side_by_side, flat, buffers.guard))]


def filters(outputs, channels):
    """Return an array for transformed filters, [36, groups of 4 outputs, channels up to a multiple of 4, 4]."""
    return planes((POINTS, -(-outputs // 4), -(-channels // 4) * 4, 4))


def filter_calls(buffers, u, rotated):
    """Return the calls that transform the weights into u."""
    weight, taps = buffers.parameters["weight"], buffers.scratch.array("taps", (LANES, LANES))
    arrays = weight.reshape(*weight.shape[:2], 9), int(rotated), taps
    return [(kernels.winograd_filters, (*arrays, u.reshape(*u.shape[:2], -1, LANES)))]


def correlation_calls(scratch, x, u, bias, test, y, relu, mask):
    """Return the calls that compute y from x, which begins at the corner of the first tile."""
    (_, channels, _, _, _), (_, outputs, oh, ow, _) = x.shape, y.shape
    grid, patch, calls = Grid.over(oh, ow), scratch.array("patch", (4, 4, LANES)), []
    finish = kernels.winograd_outputs(relu, mask)
    for first, count in grid.shares(TOGETHER):
        v = scratch.array("v", (POINTS, channels, count, LANES))
        calls.append((kernels.winograd_inputs, (x, first, grid.across, v)))
        product = kernels.winograd_products(tile_sizes.winograd(count))
        for start, stop in pairwise([*range(0, outputs, OUTPUTS), outputs]):
            groups = u[:, start // 4 : -(-stop // 4)]
            m = scratch.array("m", (POINTS, 4 * groups.shape[1], count, LANES))
            calls.append((product, (groups, v, m)))
            part = m, bias[start:stop], test[:, start:stop], y[:, start:stop], first, grid.across, patch
            calls.append((finish, part))
    return calls
