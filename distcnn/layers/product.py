"""The calls of a convolution that is a product of matrices, which `Conv2D` computes so: each window is one pixel.

Or it is the whole image: then the pixels of all channels are channels of one pixel.
"""

import math

import numpy as np

from distcnn.kernels import junction, tiles
from distcnn.kernels import product as kernels
from distcnn.lanes import LANES


def fits(axes, groups, shape):
    """Tell whether every window is one pixel, or there is one that is the whole image, and sees all channels."""
    plain = groups == 1 and all(axis.padding == 0 for axis in axes)
    return plain and (_are_pixels(axes) or [axis.extent for axis in axes] == [*shape[1:]] == _sizes(axes))


def fits_into(wiring, axes, groups):
    """Tell whether the calls fit: whole images want no zeros around them, as other layers may want them."""
    values = [each for each in (wiring.x, wiring.dx) if each]
    bare = _are_pixels(axes) or not any(any(each.border) for each in values)
    return bare and fits(axes, groups, wiring.x.shape)


def common(shape, axes, outputs):
    """Return the shapes of the arrays that blocks have in common: the weights turned round, for dx."""
    return {"turned": (shape[0] * math.prod(_sizes(axes)), outputs)}


def prepare_calls(wiring):
    """Return the calls that turn the weights round."""
    return (
        [(kernels.turn, (_matrix(wiring.parameters["weight"]), wiring.common["turned"]))] if wiring.dx else []
    )


def forward_calls(wiring, axes, bias):
    """Return the calls that compute y."""
    weight = _matrix(wiring.parameters["weight"])
    (down, across), x, y = (axis.stride for axis in axes), _pixels(wiring.x, weight), wiring.y.inside
    rows, columns = tiles.convolution(y.shape[1], y.shape[3])
    kernel = kernels.product(rows, columns, across, 1, wiring.relu, False)
    return [(kernel, (x, weight, bias, down, 1, y, _side(wiring, x, columns), y))]


def data_calls(wiring, axes):
    """Return the calls that compute dx: the product with the turned weights, where there are windows, else 0."""
    (down, across), dy, turned = (axis.stride for axis in axes), wiring.dy.inside, wiring.common["turned"]
    x, dx = (_pixels(each, turned.T) for each in (wiring.x, wiring.dx))
    rows, columns = tiles.convolution(dx.shape[1], dy.shape[3])
    kernel = kernels.product(rows, columns, 1, across, False, wiring.mask)
    nothing = np.zeros(dx.shape[1], np.float32)
    arrays = dy, turned, nothing, 1, down, x, _side(wiring, dy, columns), dx
    clear = [(junction.clear, (dx,))] if down * across > 1 else []
    return [*clear, (kernel, arrays)]


def weight_calls(wiring, axes):
    """Return the calls that add the weights' gradient to its sums."""
    sums = _matrix(wiring.sums["weight"])
    x, dy, channels = _pixels(wiring.x, sums), wiring.dy.inside, sums.shape[1]
    if x.shape[2:4] == (1, 1) and channels >= LANES:
        transposed = wiring.scratch.array("transposed", (1, LANES, -(-channels // LANES), LANES))
        arrays = x[:, :, 0, 0], dy[:, :, 0, 0], transposed
        return [(kernels.product_backward_weights_of_pixel, (*arrays, sums, wiring.guard))]
    kernel = kernels.product_backward_weights(*tiles.product_weights(*sums.shape))
    strides = (axis.stride for axis in axes)
    return [(kernel, (x, dy, *strides, sums, wiring.guard))]


def _sizes(axes):
    return [axis.kernel_size for axis in axes]


def _are_pixels(axes):
    return _sizes(axes) == [1, 1]


def _matrix(weight):
    return weight.reshape(len(weight), -1)


def _pixels(value, matrix):
    """See a value as images with as many channels as the matrix has columns."""
    return value.inside if value.shape[0] == matrix.shape[1] else value.array.reshape(1, -1, 1, 1, LANES)


def _side(wiring, x, columns):
    return wiring.scratch.array("side", (x.shape[1], columns, x.shape[-1]))
