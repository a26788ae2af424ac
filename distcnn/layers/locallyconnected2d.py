"""Local connections without shared weights: a convolution whose filter is another one at each place."""

import math
from dataclasses import dataclass

import numpy as np

from distcnn.kernels import locally_connected as kernels
from distcnn.kernels import tile_sizes
from distcnn.lanes import LANES
from distcnn.layers.base import Border, Parameter, padded
from distcnn.layers.window2d import Filters2D


@dataclass(frozen=True)
class LocallyConnected2D(Filters2D):
    """y[o, r, q] = bias[r, q, o] + sum over the window at (r, q) of weight[r, q, o] times x.

    (c, h, w) -> (out_channels, oh, ow), the arguments as in Conv2D. weight: (oh, ow, out_channels, c, rows, columns of
    the kernel), at each place the weights of a Conv2D; bias: (oh, ow, out_channels).
    """

    def parameters(self, shape):
        _, oh, ow = self.output_shape(shape)
        units = oh, ow, self.out_channels
        weight = Parameter((*units, shape[0], *self.taps), fan_in=self._features(shape))
        return self.with_bias(weight, units)

    def border(self, shape):
        down, across = self.axes
        return Border(across.padding, across.padding, down.padding, down.padding)

    def forward(self, buffers):
        x, weight = (
            buffers.x.bordered(self.border(buffers.x.shape)),
            _as_matrices(buffers.parameters["weight"]),
        )
        bias = buffers.parameters.get("bias", np.zeros(weight.shape[:3], np.float32))
        kernel = kernels.local_forward(tile_sizes.dense(self.out_channels), self.taps[1])
        return [(kernel, (x, weight, bias, *self.axes, buffers.y.inside))]

    def backward(self, buffers):
        dy = buffers.dy.inside
        calls = [self._backward_weights(buffers)]
        if self.bias:
            kernel = kernels.local_bias_gradient(tile_sizes.sums(self.out_channels))
            calls.append((kernel, (dy, buffers.sums["bias"], buffers.guard)))
        if buffers.dx:
            weight, (down, across) = _as_matrices(buffers.parameters["weight"]), self.axes
            whole = padded(buffers.x.shape, self.border(buffers.x.shape))
            wide = buffers.scratch.array("wide", (1, *whole, LANES))
            rows, columns = tile_sizes.local_data(*self.taps, down.dilation)
            kernel = kernels.local_backward_data(rows, columns, across.dilation)
            calls.append((kernel, (dy, weight, *self.axes, wide, buffers.dx.inside)))
        return calls

    def _backward_weights(self, buffers):
        x, features = buffers.x.bordered(self.border(buffers.x.shape)), self._features(buffers.x.shape)
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

    def _features(self, shape):
        """Return how many numbers a window holds."""
        return shape[0] * math.prod(self.taps)


def _as_matrices(array):
    """See a window's channels, rows and columns as one axis."""
    return array.reshape(*array.shape[:3], -1)
