"""Local connections without shared weights: a convolution whose filter is another one at each place."""

import math
from dataclasses import dataclass

import numpy as np

from distcnn.kernels import local as kernels
from distcnn.kernels import tiles
from distcnn.lanes import LANES, aligned
from distcnn.layers.base import Parameter
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

    def kept(self, shape):
        return {"patch": (1, self._features(shape), LANES)}

    def forward(self, wiring):
        weight = _as_matrices(wiring.parameters["weight"])
        bias = wiring.parameters.get("bias", np.zeros(weight.shape[:3], np.float32))
        kernel = kernels.local_forward(tiles.dense(self.out_channels))
        return [(kernel, (wiring.x.inside, weight, bias, *self.axes, wiring.kept["patch"], wiring.y.inside))]

    def backward(self, wiring):
        dy = wiring.dy.inside
        calls = [self._backward_weights(wiring)]
        if self.bias:
            kernel = kernels.local_bias_gradient(tiles.sums(self.out_channels))
            calls.append((kernel, (dy, wiring.sums["bias"], wiring.guard)))
        if wiring.dx:
            weight, patch = _as_matrices(wiring.parameters["weight"]), wiring.kept["patch"]
            kernel = kernels.local_backward_data(tiles.dense(weight.shape[3]))
            calls.append((kernel, (dy, weight, *self.axes, patch, wiring.dx.inside)))
        return calls

    def _backward_weights(self, wiring):
        arrays = wiring.x.inside, wiring.dy.inside, *self.axes, wiring.kept["patch"]
        sums, features = _as_matrices(wiring.sums["weight"]), self._features(wiring.x.shape)
        if features < LANES:
            kernel = kernels.local_backward_few_weights(tiles.sums(self.out_channels))
            return kernel, (*arrays, sums, wiring.guard)
        turned = aligned((-(-features // LANES), LANES, LANES))
        kernel = kernels.local_backward_weights(tiles.dense(self.out_channels))
        return kernel, (*arrays, turned, sums, wiring.guard)

    def _features(self, shape):
        """Return how many numbers a window holds."""
        return shape[0] * math.prod(self.taps)


def _as_matrices(array):
    """See a window's channels, rows and columns as one axis."""
    return array.reshape(*array.shape[:3], -1)
