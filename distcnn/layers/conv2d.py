"""Convolution: a sliding dot product with shared weights."""

from dataclasses import dataclass

import numpy as np

from distcnn.kernels import convolution as kernels
from distcnn.kernels import tiles
from distcnn.layers.base import Columns, Layer, Parameter, check_image, check_whole, window_count


@dataclass(frozen=True)
class Conv2D(Layer):
    """y[o] = bias[o] + sum over c of the cross-correlation of x[c] with weight[o, c] (PyTorch's Conv2d).

    (c, h, w) -> (out_channels, oh, ow), oh = (h + 2 padding - kernel_size) // stride + 1.
    weight: (out_channels, c, kernel_size, kernel_size); bias: (out_channels,).
    """

    out_channels: int
    kernel_size: int
    stride: int = 1
    padding: int = 0
    bias: bool = True

    applies_relu = True
    applies_mask = True

    def __post_init__(self):
        check_whole(self, 1, out_channels=self.out_channels, kernel_size=self.kernel_size, stride=self.stride)
        check_whole(self, 0, padding=self.padding)

    def output_shape(self, shape):
        _, h, w = check_image(self, shape)
        oh, ow = (window_count(self, n, self.kernel_size, self.stride, self.padding) for n in (h, w))
        return self.out_channels, oh, ow

    def parameters(self, shape):
        filter_shape = (shape[0], self.kernel_size, self.kernel_size)
        weight = Parameter((self.out_channels, *filter_shape), fan_in=int(np.prod(filter_shape)))
        return (
            {"weight": weight, "bias": Parameter((self.out_channels,))} if self.bias else {"weight": weight}
        )

    def border(self, shape):
        return Columns(self.padding, self.padding)

    def gradient_border(self, shape):
        """The gradient of column w comes from columns (w + padding - j) / stride: those outside dy are zero."""
        _, _, ow = self.output_shape(shape)
        left = (self.kernel_size - 1) // self.stride
        right = (shape[2] - 1 + self.padding) // self.stride - (ow - 1)
        return Columns(left, max(0, right))

    def forward(self, wiring):
        x, y = wiring.x.bordered(self.border(wiring.x.shape)), wiring.y.inside
        weight = wiring.parameters["weight"]
        bias = wiring.parameters.get("bias", np.zeros(self.out_channels, np.float32))
        rows, columns = tiles.convolution(self.out_channels, wiring.y.shape[2])
        kernel = kernels.convolution_forward(rows, columns, self.stride, wiring.relu)
        return [(kernel, (x, weight, bias, self.padding, y))]

    def backward(self, wiring):
        x, dy = wiring.x.bordered(self.border(wiring.x.shape)), wiring.dy.inside
        tile = tiles.convolution_weights(self.out_channels, self.kernel_size)
        kernel = kernels.convolution_backward_weights(*tile, self.stride)
        calls = [(kernel, (x, dy, self.padding, wiring.sums["weight"], wiring.guard))]
        if self.bias:
            kernel = kernels.bias_gradient(tiles.sums(self.out_channels))
            calls.append((kernel, (dy, wiring.sums["bias"], wiring.guard)))
        return calls + ([self._backward_data(wiring)] if wiring.dx else [])

    def _backward_data(self, wiring):
        channels, _, width = wiring.x.shape
        border = self.gradient_border(wiring.x.shape)
        dy = wiring.dy.bordered(border)
        rows, columns = tiles.convolution_data(channels, max(1, width // self.stride))
        kernel = kernels.convolution_backward_data(rows, columns, self.stride, wiring.mask)
        weight = wiring.parameters["weight"]
        return kernel, (dy, weight, self.padding, border.left, wiring.x.inside, wiring.dx.inside)
