"""The calls of a 3 x 3 convolution of stride 1 by Winograd's algorithm: what `Conv2D` uses where it pays.

Tiles go through the transforms a few at a time, so that what lies at the 36 points stays in the cache. How many is
the same on every machine, for it splits the sum of the weights' gradient.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from distcnn.kernels import tiles
from distcnn.kernels import winograd as kernels
from distcnn.kernels.convolution import bias_gradient
from distcnn.lanes import LANES
from distcnn.layers.base import Border, planes

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


def pays(channels, outputs, height, width):
    """Tell whether forward pass and gradient of the data are faster this way, for outputs of height x width.

    Measured at 16 x 16: 8 to 8 channels 1.6 times as fast as directly, 16 to 16 2.2 times, 64 to 64 three times. Of
    what the tiles compute at least half should lie inside the image.
    """
    grid = Grid.over(height, width)
    return channels * outputs >= 64 and 2 * height * width >= 16 * grid.down * grid.across


def pays_for_weights(channels, outputs, height, width):
    """Tell whether the gradient of the weights is: 16 to 8 channels 1.3 times, 16 to 16 1.8 times as fast."""
    return channels >= LANES and pays(channels, outputs, height, width)


def input_border(shape, padding):
    """Return the zeros wanted around x (c, h, w): the padding, and what completes the last tiles."""
    _, h, w = shape
    grid = Grid.over(h + 2 * padding - 2, w + 2 * padding - 2)
    return Border(padding, 4 * grid.across + 2 - padding - w, padding, 4 * grid.down + 2 - padding - h)


def output_gradient_border(shape, padding):
    """Return the zeros wanted around dy for the gradient of the data (c, h, w)."""
    _, h, w = shape
    grid, before = Grid.over(h, w), max(0, 2 - padding)
    right, bottom = 4 * grid.across + 2 - w - padding, 4 * grid.down + 2 - h - padding
    return Border(before, max(0, right), before, max(0, bottom))


def whole_tiles_border(shape, padding):
    """Return the zeros wanted around dy for the gradient of the weights, with x of shape (c, h, w)."""
    _, h, w = shape
    oh, ow = h + 2 * padding - 2, w + 2 * padding - 2
    grid = Grid.over(oh, ow)
    return Border(0, 4 * grid.across - ow, 0, 4 * grid.down - oh)


def filters(outputs, channels):
    """Return an array for transformed filters, [36, groups of 4 outputs, channels up to a multiple of 4, 4]."""
    return planes((POINTS, -(-outputs // 4), -(-channels // 4) * 4, 4))


def filter_calls(scratch, weight, u, rotated):
    """Return the calls that transform the weights into u."""
    arrays = weight.reshape(*weight.shape[:2], 9), int(rotated), scratch.array("taps", (LANES, LANES))
    return [(kernels.winograd_filters, (*arrays, u.reshape(*u.shape[:2], -1, LANES)))]


def correlation_calls(scratch, x, u, bias, test, y, relu, mask):
    """Return the calls that compute y from x, which begins at the corner of the first tile."""
    (_, channels, _, _, _), (_, outputs, oh, ow, _) = x.shape, y.shape
    grid, patch, calls = Grid.over(oh, ow), scratch.array("patch", (4, 4, LANES)), []
    finish = kernels.winograd_outputs(relu, mask)
    for first, count in grid.shares(TOGETHER):
        v = scratch.array("v", (POINTS, channels, count, LANES))
        calls.append((kernels.winograd_inputs, (x, first, grid.across, v)))
        product = kernels.winograd_products(tiles.winograd(count))
        for start, stop in pairwise([*range(0, outputs, OUTPUTS), outputs]):
            groups = u[:, start // 4 : -(-stop // 4)]
            m = scratch.array("m", (POINTS, 4 * groups.shape[1], count, LANES))
            calls.append((product, (groups, v, m)))
            part = m, bias[start:stop], test[:, start:stop], y[:, start:stop], first, grid.across, patch
            calls.append((finish, part))
    return calls


def weight_calls(scratch, x, dy, sums, bias, guard):
    """Return the calls that add the weights' gradient to its sums; x and dy begin at the corner of the first tile.

    bias: the sums of the bias's gradient, or None. At the point (1, 1) a tile of dy is the sum over its pixels.
    """
    outputs, channels = sums.shape[:2]
    grid = Grid(dy.shape[2] // 4, dy.shape[3] // 4)
    rows, columns = tiles.winograd_weights(outputs, channels)
    padded, groups = -(-outputs // rows) * rows, -(-channels // (LANES * columns)) * columns
    d, calls = scratch.array("d", (POINTS, padded, groups, LANES)), []
    product = kernels.winograd_weight_products(rows, columns)
    for first, count in grid.shares(TOGETHER):
        v = scratch.array("v", (POINTS, channels, count, LANES))
        y = scratch.array("m", (POINTS, padded, count, LANES))
        vt = scratch.array("vt", (groups, count, LANES, LANES))
        calls.append((kernels.winograd_inputs, (x, first, grid.across, v)))
        calls.append((kernels.winograd_gradients, (dy, first, grid.across, y)))
        if bias is not None:
            pixels = y[POINT_ONE, None, :outputs, None]
            calls.append((bias_gradient(tiles.sums(outputs)), (pixels, bias, guard)))
        calls.append((product, (v, y, int(first == 0), vt, d)))
    side_by_side = np.lib.stride_tricks.as_strided(
        scratch.array("side by side", (1, 9 * LANES + LANES)), (LANES, 1, LANES), (36, 64, 4)
    )
    taps = scratch.array("taps", (LANES, LANES))
    flat = sums.reshape(outputs, channels * 9)
    calls.append((kernels.winograd_weight_sums, (d, taps, side_by_side, flat, guard)))
    return calls
