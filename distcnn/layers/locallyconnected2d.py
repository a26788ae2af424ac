"""Local connections without shared weights: a convolution that has a different filter at each position."""

import math
from dataclasses import dataclass

import numpy as np

from distcnn.kernels import locally_connected as kernels
from distcnn.kernels import tile_sizes
from distcnn.lanes import LANES
from distcnn.layers.argument_order import remember_positions
from distcnn.layers.base import LayerBuffers
from distcnn.layers.declarations import Call, Parameter, Shape
from distcnn.layers.values import Border, padded
from distcnn.layers.window2d import Filters2D


@remember_positions
@dataclass(frozen=True)
class LocallyConnected2D(Filters2D):
    """y[o, r, q] = bias[r, q, o] + sum over the window at (r, q) of weight[r, q, o] times x.

    (c, h, w) -> (out_channels, oh, ow); arguments as in Conv2D.

    weight: (oh, ow, out_channels, c, rows, columns of the kernel), for each position the weights of a Conv2D.
    bias: (oh, ow, out_channels).
    """

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        _, oh, ow = self.output_shape(shape)
        units = oh, ow, self.out_channels
        weight = Parameter((*units, shape[0], *self.taps), fan_in=self._features(shape))
        return self.with_bias(weight, units)

    def border(self, shape: Shape) -> Border:
        down, across = self.axes
        return Border(across.padding, across.padding, down.padding, down.padding)

    def forward(self, buffers: LayerBuffers) -> list[Call]:
        x, weight = self._bordered_x(buffers), _as_matrices(buffers.parameters["weight"])
        bias = buffers.parameters.get("bias", np.zeros(weight.shape[:3], np.float32))
        kernel = kernels.local_forward(tile_sizes.dense(self.out_channels), self.taps[1])
        return [(kernel, (x, weight, bias, *self.axes, buffers.y.inside))]

    def backward(self, buffers: LayerBuffers) -> list[Call]:
        calls = [] if buffers.frozen else [self._backward_weights(buffers)]
        if self.bias and not buffers.frozen:
            kernel = kernels.local_bias_gradient(tile_sizes.sums(self.out_channels))
            calls.append((kernel, (buffers.dy.inside, buffers.sums["bias"], buffers.guard)))
        return calls + ([self._backward_data(buffers)] if buffers.dx else [])

    def _backward_weights(self, buffers: LayerBuffers) -> Call:
        x, features = self._bordered_x(buffers), self._features(buffers.x.shape)
        arrays, sums = (x, buffers.dy.inside, *self.axes), _as_matrices(buffers.sums["weight"])
        if features < LANES:
            kernel = kernels.local_backward_few_weights(tile_sizes.sums(self.out_channels))
            return kernel, (*arrays, sums, buffers.guard)
        patch = buffers.scratch.array("patch", (1, features, LANES))
        fresh = np.ones((-(-features // LANES), LANES), np.float32)
        fresh[-1, : fresh.size - features] = 0
        rows = tile_sizes.local_weights(self.out_channels)
        kernel = kernels.local_backward_weights(rows, self.taps[1], self.axes[1].dilation)
        return kernel, (*arrays, patch, fresh, sums, buffers.guard)

    def _backward_data(self, buffers: LayerBuffers) -> Call:
        weight, (down, across) = _as_matrices(buffers.parameters["weight"]), self.axes
        whole = padded(buffers.x.shape, self.border(buffers.x.shape))
        wide = buffers.scratch.array("wide", (1, *whole, LANES))
        rows, columns = tile_sizes.local_data(*self.taps, down.dilation)
        kernel = kernels.local_backward_data(rows, columns, across.dilation)
        return kernel, (buffers.dy.inside, weight, *self.axes, wide, buffers.dx.inside)

    def _bordered_x(self, buffers: LayerBuffers) -> np.ndarray:
        return buffers.x.bordered(self.border(buffers.x.shape))

    def _features(self, shape: Shape) -> int:
        """Return how many numbers a window has in all channels."""
        return shape[0] * math.prod(self.taps)


def _as_matrices(array: np.ndarray) -> np.ndarray:
    """Return a view of weights in which the axes of channels, rows and columns of a window are one axis."""
    return array.reshape(*array.shape[:3], -1)
