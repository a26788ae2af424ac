"""Convolutions that are products of matrices, because each window is one pixel, or the only window is the whole image.

If it is the whole image, all its numbers are treated as the channels of one pixel.
"""

import math

import numpy as np

from distcnn.kernels import branch, tile_sizes
from distcnn.kernels import matmul as kernels
from distcnn.lanes import LANES
from distcnn.layers.base import LayerBuffers
from distcnn.layers.convolution.algorithm import Algorithm
from distcnn.layers.convolution.direct import Direct
from distcnn.layers.declarations import Call, Shape
from distcnn.layers.values import Border, Value
from distcnn.layers.window2d import Filters2D


def fits(layer: Filters2D, shape: Shape) -> bool:
    """Return whether a layer is a product of matrices on images of `shape`.

    Every window must be one pixel, or the only window the whole image; and there must be one group and no padding.
    """
    plain = layer.groups == 1 and all(axis.padding == 0 for axis in layer.axes)
    whole = layer.taps == tuple(shape[1:]) == tuple(axis.extent for axis in layer.axes)
    return plain and (layer.taps == (1, 1) or whole)


class MatMul(Algorithm):
    """A product of matrices, with the same bits as `Direct`, which is used for whole images with zeros around them."""

    def __init__(self, layer: Filters2D, shape: Shape) -> None:
        super().__init__(layer, shape)
        self.direct = Direct(layer, shape)

    def prepared(self, with_dx: bool) -> dict[str, Shape]:
        """Return the declaration of the transposed weights, for dx."""
        return {"transposed": (self.shape[0] * math.prod(self.layer.taps), self.outputs)} if with_dx else {}

    @property
    def border(self) -> Border:
        return self.direct.border

    @property
    def data_border(self) -> Border:
        return self.direct.data_border

    def prepare(self, buffers: LayerBuffers) -> list[Call]:
        if not (buffers.dx and self._is_compact(buffers)):
            return []
        weight = _matrix(buffers.parameters["weight"])
        return [(kernels.transpose_matrix, (weight, buffers.prepared["transposed"]))]

    def forward(self, buffers: LayerBuffers, bias: np.ndarray) -> list[Call]:
        if not self._is_compact(buffers):
            return self.direct.forward(buffers, bias)
        weight = _matrix(buffers.parameters["weight"])
        x, y = _pixels(buffers.x, weight), buffers.y.inside
        rows, columns = tile_sizes.convolution(self.outputs, self.width)
        kernel = kernels.matmul(rows, columns, self.across.stride, 1, buffers.relu, False)
        return [(kernel, (x, weight, bias, self.down.stride, 1, y, _side(buffers, x, columns), y))]

    def backward_weights(self, buffers: LayerBuffers) -> list[Call]:
        if not self._is_compact(buffers):
            return self.direct.backward_weights(buffers)
        sums, dy = _matrix(buffers.sums["weight"]), buffers.dy.inside
        x, channels = _pixels(buffers.x, sums), sums.shape[1]
        if x.shape[2:4] == (1, 1) and channels >= LANES:
            transposed = buffers.scratch.array("transposed", (1, LANES, -(-channels // LANES), LANES))
            arrays = x[:, :, 0, 0], dy[:, :, 0, 0], transposed, sums, buffers.guard
            calls: list[Call] = [(kernels.matmul_backward_weights_of_pixel, arrays)]
        else:
            kernel = kernels.matmul_backward_weights(*tile_sizes.matmul_weights(*sums.shape))
            calls = [(kernel, (x, dy, self.down.stride, self.across.stride, sums, buffers.guard))]
        return calls + self.bias_calls(buffers, dy)

    def backward_data(self, buffers: LayerBuffers) -> list[Call]:
        """Return the calls that compute dx: the transposed weights times dy where there are windows, 0 between them."""
        if not self._is_compact(buffers):
            return self.direct.backward_data(buffers)
        down, across, transposed = self.down.stride, self.across.stride, buffers.prepared["transposed"]
        dy = buffers.dy.inside
        x, dx = (_pixels(each, transposed.T) for each in (buffers.x, buffers.dx) if each)
        rows, columns = tile_sizes.convolution(dx.shape[1], self.width)
        kernel = kernels.matmul(rows, columns, 1, across, False, buffers.mask)
        nothing = np.zeros(dx.shape[1], np.float32)
        arrays = dy, transposed, nothing, 1, down, x, _side(buffers, dy, columns), dx
        clear = [(branch.clear, (dx,))] if down * across > 1 else []
        return [*clear, (kernel, arrays)]

    def _is_compact(self, buffers: LayerBuffers) -> bool:
        """Return whether the numbers of a window are contiguous, without zeros between them."""
        values = [each for each in (buffers.x, buffers.dx) if each]
        return self.layer.taps == (1, 1) or not any(any(each.border) for each in values)


def _matrix(weight: np.ndarray) -> np.ndarray:
    return weight.reshape(len(weight), -1)


def _pixels(value: Value, matrix: np.ndarray) -> np.ndarray:
    """Return a value as images with as many channels as the matrix has columns."""
    return value.inside if value.shape[0] == matrix.shape[1] else value.array.reshape(1, -1, 1, 1, LANES)


def _side(buffers: LayerBuffers, x: np.ndarray, columns: int) -> np.ndarray:
    return buffers.scratch.array("side", (x.shape[1], columns, x.shape[-1]))
