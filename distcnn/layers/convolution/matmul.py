"""The calls of a convolution that is a product of matrices, which `Conv2D` computes so: each window is one pixel.

Or it is the whole image: then the pixels of all channels are channels of one pixel.
"""

import math

import numpy as np

from distcnn.kernels import branch, tile_sizes
from distcnn.kernels import matmul as kernels
from distcnn.lanes import LANES
from distcnn.layers.convolution.direct import Direct


def fits(layer, shape):
    """Tell whether every window is one pixel, or there is one that is the whole image, and sees all channels."""
    plain = layer.groups == 1 and all(axis.padding == 0 for axis in layer.axes)
    whole = layer.taps == tuple(shape[1:]) == tuple(axis.extent for axis in layer.axes)
    return plain and (layer.taps == (1, 1) or whole)


class Product(Direct):
    """A product of matrices for a Conv2D; see Direct, with whose bits it agrees.

    Whole images are done directly where other layers want zeros around them.
    """

    @property
    def group_shared(self):
        """The weights turned round, for dx."""
        return {"transposed": (self.shape[0] * math.prod(self.layer.taps), self.outputs)}

    def prepare(self, buffers):
        if not (buffers.dx and self._is_bare(buffers)):
            return []
        return [
            (
                kernels.transpose_matrix,
                (_matrix(buffers.parameters["weight"]), buffers.group_shared["transposed"]),
            )
        ]

    def forward(self, buffers, bias):
        if not self._is_bare(buffers):
            return super().forward(buffers, bias)
        weight = _matrix(buffers.parameters["weight"])
        x, y = _pixels(buffers.x, weight), buffers.y.inside
        rows, columns = tile_sizes.convolution(self.outputs, self.width)
        kernel = kernels.matmul(rows, columns, self.across.stride, 1, buffers.relu, False)
        return [(kernel, (x, weight, bias, self.down.stride, 1, y, _side(buffers, x, columns), y))]

    def backward_weights(self, buffers):
        if not self._is_bare(buffers):
            return super().backward_weights(buffers)
        sums, dy = _matrix(buffers.sums["weight"]), buffers.dy.inside
        x, channels = _pixels(buffers.x, sums), sums.shape[1]
        if x.shape[2:4] == (1, 1) and channels >= LANES:
            transposed = buffers.scratch.array("transposed", (1, LANES, -(-channels // LANES), LANES))
            arrays = x[:, :, 0, 0], dy[:, :, 0, 0], transposed, sums, buffers.guard
            calls = [(kernels.matmul_backward_weights_of_pixel, arrays)]
        else:
            kernel = kernels.matmul_backward_weights(*tile_sizes.matmul_weights(*sums.shape))
            calls = [(kernel, (x, dy, self.down.stride, self.across.stride, sums, buffers.guard))]
        return calls + self.bias_calls(buffers, dy)

    def backward_data(self, buffers):
        """The product with the turned weights, where there are windows, else 0."""
        if not self._is_bare(buffers):
            return super().backward_data(buffers)
        down, across, transposed = self.down.stride, self.across.stride, buffers.group_shared["transposed"]
        dy, (x, dx) = buffers.dy.inside, (_pixels(each, transposed.T) for each in (buffers.x, buffers.dx))
        rows, columns = tile_sizes.convolution(dx.shape[1], self.width)
        kernel = kernels.matmul(rows, columns, 1, across, False, buffers.mask)
        nothing = np.zeros(dx.shape[1], np.float32)
        arrays = dy, transposed, nothing, 1, down, x, _side(buffers, dy, columns), dx
        clear = [(branch.clear, (dx,))] if down * across > 1 else []
        return [*clear, (kernel, arrays)]

    def _is_bare(self, buffers):
        """Tell whether there are no zeros in the way."""
        values = [each for each in (buffers.x, buffers.dx) if each]
        return self.layer.taps == (1, 1) or not any(any(each.border) for each in values)


def _matrix(weight):
    return weight.reshape(len(weight), -1)


def _pixels(value, matrix):
    """See a value as images with as many channels as the matrix has columns."""
    return value.inside if value.shape[0] == matrix.shape[1] else value.array.reshape(1, -1, 1, 1, LANES)


def _side(buffers, x, columns):
    return buffers.scratch.array("side", (x.shape[1], columns, x.shape[-1]))
