"""Convolution: a sliding dot product with shared weights."""

from dataclasses import dataclass, field, replace

import numpy as np

from distcnn.kernels import convolution as kernels
from distcnn.kernels import tiles
from distcnn.layers import winograd
from distcnn.layers.base import Border, Layer, Parameter, check_image, check_whole, window_count


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
    conv: str = field(default="winograd", repr=False)

    applies_relu = True
    applies_mask = True
    folds_norm = True

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

    def using(self, conv):
        return replace(self, conv=conv) if conv == "direct" else self

    def border(self, shape):
        border = Border(self.padding, self.padding)
        if self._winograd(shape) or self._winograd_weights(shape):
            border = border.union(winograd.input_border(shape, self.padding))
        return border

    def gradient_border(self, shape):
        """The gradient of column w comes from columns (w + padding - j) / stride: those outside dy are zero."""
        _, _, ow = self.output_shape(shape)
        left = (self.kernel_size - 1) // self.stride
        right = (shape[2] - 1 + self.padding) // self.stride - (ow - 1)
        border = Border(left, max(0, right))
        if self._winograd(shape):
            border = border.union(winograd.output_gradient_border(shape, self.padding))
        if self._winograd_weights(shape):
            border = border.union(winograd.whole_tiles_border(shape, self.padding))
        return border

    # ---- which algorithm: by the layer's shape alone ----

    def _winograd(self, shape):
        return self._takes(winograd.pays, shape)

    def _winograd_weights(self, shape):
        return self._takes(winograd.pays_for_weights, shape)

    def _takes(self, pays, shape):
        if self.conv == "direct" or (self.kernel_size, self.stride) != (3, 1):
            return False
        return pays(shape[0], *self.output_shape(shape))

    # ---- calls ----

    def prepare(self, wiring):
        if not self._winograd(wiring.x.shape):
            return []
        weight, channels = wiring.parameters["weight"], wiring.x.shape[0]
        wiring.filters = winograd.filters(self.out_channels, channels)
        calls = winograd.filter_calls(wiring.scratch, weight, wiring.filters, rotated=False)
        if wiring.dx:
            wiring.rotated_filters = winograd.filters(channels, self.out_channels)
            calls += winograd.filter_calls(wiring.scratch, weight, wiring.rotated_filters, rotated=True)
        return calls

    def forward(self, wiring):
        weight, y = wiring.parameters["weight"], wiring.y.inside
        bias = wiring.parameters.get("bias", np.zeros(self.out_channels, np.float32))
        if self._winograd(wiring.x.shape):
            x = wiring.x.bordered(winograd.input_border(wiring.x.shape, self.padding))
            return winograd.correlation_calls(
                wiring.scratch, x, wiring.filters, bias, y, y, wiring.relu, False
            )
        rows, columns = tiles.convolution(self.out_channels, wiring.y.shape[2])
        kernel = kernels.convolution_forward(rows, columns, self.stride, wiring.relu)
        return [(kernel, (self._direct_input(wiring), weight, bias, self.padding, y))]

    def backward(self, wiring):
        calls = self.backward_weights(wiring)
        if self.bias:
            kernel = kernels.bias_gradient(tiles.sums(self.out_channels))
            calls.append((kernel, (wiring.dy.inside, wiring.sums["bias"], wiring.guard)))
        return calls + (self.backward_data(wiring) if wiring.dx else [])

    def _direct_input(self, wiring):
        return wiring.x.bordered(Border(self.padding, self.padding))

    def backward_weights(self, wiring):
        shape = wiring.x.shape
        if self._winograd_weights(shape):
            x = wiring.x.bordered(winograd.input_border(shape, self.padding))
            dy = wiring.dy.bordered(winograd.whole_tiles_border(shape, self.padding))
            return winograd.weight_calls(wiring.scratch, x, dy, wiring.sums["weight"], wiring.guard)
        tile = tiles.convolution_weights(self.out_channels, self.kernel_size)
        kernel = kernels.convolution_backward_weights(*tile, self.stride)
        arrays = (
            self._direct_input(wiring),
            wiring.dy.inside,
            self.padding,
            wiring.sums["weight"],
            wiring.guard,
        )
        return [(kernel, arrays)]

    def backward_data(self, wiring):
        channels, h, w = wiring.x.shape
        x, dx = wiring.x.inside, wiring.dx.inside
        if self._winograd(wiring.x.shape):
            grid, start = winograd.Grid.over(h, w), self.padding - 2
            dy = wiring.dy.window(start, start, 4 * grid.down + 2, 4 * grid.across + 2)
            nothing = np.zeros(channels, np.float32)
            return winograd.correlation_calls(
                wiring.scratch, dy, wiring.rotated_filters, nothing, x, dx, False, wiring.mask
            )
        border = Border(*self.gradient_border(wiring.x.shape)[:2])
        dy = wiring.dy.bordered(border)
        kernel = kernels.convolution_backward_data(tiles.convolution_data(channels), self.stride, wiring.mask)
        return [(kernel, (dy, wiring.parameters["weight"], self.padding, border.left, x, dx))]
