"""Convolution: a sliding dot product with shared weights."""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from distcnn.errors import NetError
from distcnn.kernels import convolution as kernels
from distcnn.kernels import tiles
from distcnn.kernels.axis import Axis
from distcnn.kernels.thin import thin_backward_data
from distcnn.layers import product, rowwise, winograd
from distcnn.layers.base import NO_BORDER, Border, Parameter, check_whole
from distcnn.layers.window2d import Filters2D

THIN = 4  # channels a group: below, the gradient of the data takes columns together, not channels


@dataclass(frozen=True)
class Conv2D(Filters2D):
    """y[o] = bias[o] + sum over c of the cross-correlation of x[c] with weight[o, c] (PyTorch's Conv2d).

    kernel_size, stride, padding and dilation: a whole number, or a pair (of rows, of columns); groups: so many equal
    parts of y's channels, each of which sees the same part of x's; with as many as x has channels it is depthwise.
    weight: (out_channels, c / groups, rows, columns of the kernel); bias: (out_channels,).
    """

    groups: int = 1
    conv: str = field(default="winograd", repr=False, kw_only=True)

    applies_relu = True
    applies_mask = True
    reads_output = False
    folds_norm = True

    def __post_init__(self):
        super().__post_init__()
        check_whole(self, 1, groups=self.groups)

    def output_shape(self, shape):
        result = super().output_shape(shape)
        if shape[0] % self.groups or self.out_channels % self.groups:
            raise NetError(
                f"{self}: groups must divide the channels, but x has {shape[0]} and y is to have {self.out_channels}"
            )
        return result

    def parameters(self, shape):
        filter_shape = (shape[0] // self.groups, *self.taps)
        weight = Parameter((self.out_channels, *filter_shape), fan_in=math.prod(filter_shape))
        return self.with_bias(weight, (self.out_channels,))

    def using(self, conv):
        return replace(self, conv=conv) if conv == "direct" else self

    def common(self, shape):
        return (
            product.common(shape, self.axes, self.out_channels)
            if product.fits(self.axes, self.groups, shape)
            else {}
        )

    def kept(self, shape):
        return rowwise.kept(shape, self.axes[1].padding) if self._rowwise(shape) else {}

    def border(self, shape):
        border = self._columns
        if self._rowwise(shape):
            return rowwise.input_border(shape, border.left)
        if self._winograd(shape) or self._winograd_weights(shape):
            border = border.union(winograd.input_border(shape, border.left))
        return border

    def gradient_border(self, shape):
        border, padding = NO_BORDER, self._columns.left
        if self._rowwise(shape):
            return rowwise.gradient_border(shape, padding)
        if self._is_thin(shape):
            border = border.union(self._sides)
        if self._winograd(shape):
            border = border.union(winograd.output_gradient_border(shape, padding))
        if self._winograd_weights(shape):
            border = border.union(winograd.whole_tiles_border(shape, padding))
        return border

    @property
    def _columns(self):
        """The zero columns that the direct kernels want around x."""
        padding = self.axes[1].padding
        return Border(padding, padding)

    @property
    def _sides(self):
        """The zero columns that the thin kernel wants around dy."""
        axis = self.axes[1]
        width = max(0, axis.extent - 1 - axis.padding)
        return Border(width, width)

    def gradient_over_input(self, shape):
        """Each number of x is read for the last time just before that of dx is written; directly, tiles may overlap."""
        return self._rowwise(shape) or self._winograd(shape)

    # ---- which algorithm: by the layer's shape alone ----

    def _is_product(self, wiring):
        return product.fits_into(wiring, self.axes, self.groups)

    def _is_thin(self, shape):
        return shape[0] // self.groups < THIN and all(axis.stride == 1 for axis in self.axes)

    def _winograd(self, shape):
        return self._takes(winograd.pays, shape)

    def _winograd_weights(self, shape):
        return self._takes(winograd.pays_for_weights, shape)

    def _takes(self, pays, shape):
        down, across = self.axes
        plain = down == across == Axis(3, 1, down.padding) and self.groups == 1
        return self.conv != "direct" and plain and pays(shape[0], *self.output_shape(shape))

    def _rowwise(self, shape):
        down, across = self.axes
        plain = across == Axis(rowwise.TAPS, 1, across.padding) and down.stride == down.dilation == 1
        outputs, _, width = self.output_shape(shape)
        return self.conv != "direct" and plain and self.groups == 1 and rowwise.pays(shape[0], outputs, width)

    # ---- calls ----

    def prepare(self, wiring):
        if self._is_product(wiring):
            return product.prepare_calls(wiring)
        if self._rowwise(wiring.x.shape):
            return rowwise.prepare(wiring)
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
        if self._rowwise(wiring.x.shape):
            return rowwise.forward(wiring, bias, self.axes)
        if self._winograd(wiring.x.shape):
            x = wiring.x.bordered(winograd.input_border(wiring.x.shape, self._columns.left))
            return winograd.correlation_calls(
                wiring.scratch, x, wiring.filters, bias, y, y, wiring.relu, False
            )
        if self._is_product(wiring):
            return product.forward_calls(wiring, self.axes, bias)
        rows, columns = tiles.convolution(self.out_channels // self.groups, wiring.y.shape[2])
        kernel = kernels.convolution_forward(rows, columns, self.axes[1].stride, wiring.relu)
        filters, biases = self._grouped(weight, 0), self._grouped(bias, 0)
        return [(kernel, (self._direct_input(wiring), filters, biases, *self.axes, self._grouped(y)))]

    def backward(self, wiring):
        return self.backward_weights(wiring) + (self.backward_data(wiring) if wiring.dx else [])

    def backward_weights(self, wiring):
        """Return the calls that add the gradients of the weight and the bias to their sums."""
        shape, sums, guard = wiring.x.shape, wiring.sums["weight"], wiring.guard
        bias = wiring.sums.get("bias")
        if self._rowwise(shape):
            return rowwise.backward_weights(wiring, self.axes)
        if self._winograd_weights(shape):
            x = wiring.x.bordered(winograd.input_border(shape, self._columns.left))
            dy = wiring.dy.bordered(winograd.whole_tiles_border(shape, self._columns.left))
            return winograd.weight_calls(wiring.scratch, x, dy, sums, bias, guard)
        if self._is_product(wiring):
            return product.weight_calls(wiring, self.axes) + self._bias_calls(wiring)
        tile = tiles.convolution_weights(self.out_channels // self.groups, self.taps[1])
        whole, none = self._whole_row(shape), np.zeros(self.out_channels, np.int64)
        kernel = kernels.convolution_backward_weights(*tile, self.axes[1].dilation, whole)
        x, dy = self._direct_input(wiring), self._grouped(wiring.dy.inside)
        biases = self._grouped(none if bias is None else bias, 0)
        calls = [(kernel, (x, dy, *self.axes, self._grouped(sums, 0), biases, guard))]
        return calls + (self._bias_calls(wiring) if whole == self.taps[0] else [])

    def _bias_calls(self, wiring):
        """Return the calls that add the bias's gradient to its sums, if there is one."""
        if not self.bias:
            return []
        kernel = kernels.bias_gradient(tiles.sums(self.out_channels))
        return [(kernel, (wiring.dy.inside, wiring.sums["bias"], wiring.guard))]

    def _whole_row(self, shape):
        """Return a row of taps that lies inside the image in every window; if there is none, the number of rows."""
        down, (_, count, _), rows = self.axes[0], self.output_shape(shape), self.taps[0]
        first, stop = down.padding, shape[1] + down.padding - (count - 1) * down.stride
        return next((i for i in range(rows) if first <= i * down.dilation < stop), rows)

    def backward_data(self, wiring):
        """Return the calls that compute dx."""
        channels, h, w = wiring.x.shape
        x, dx = wiring.x.inside, wiring.dx.inside
        if self._rowwise(wiring.x.shape):
            return rowwise.backward_data(wiring, self.axes)
        if self._winograd(wiring.x.shape):
            grid, start = winograd.Grid.over(h, w), self._columns.left - 2
            dy = wiring.dy.window(start, start, 4 * grid.down + 2, 4 * grid.across + 2)
            nothing = np.zeros(channels, np.float32)
            return winograd.correlation_calls(
                wiring.scratch, dy, wiring.rotated_filters, nothing, x, dx, False, wiring.mask
            )
        if self._is_product(wiring):
            return product.data_calls(wiring, self.axes)
        filters = self._grouped(wiring.parameters["weight"], 0)
        if self._is_thin(wiring.x.shape):
            kernel = thin_backward_data(*tiles.convolution(channels // self.groups, w), wiring.mask)
            dy = self._grouped(wiring.dy.bordered(self._sides))
            arrays = self._grouped(x), self._grouped(dx)
            return [(kernel, (dy, filters, *self.axes, self._sides.left, *arrays))]
        rows, (down, across) = tiles.convolution_data(channels // self.groups), self.axes
        kernel = kernels.convolution_backward_data(
            rows, down.stride, down.dilation, across.stride, across.dilation, wiring.mask
        )
        return [
            (
                kernel,
                (self._grouped(wiring.dy.inside), filters, *self.axes, self._grouped(x), self._grouped(dx)),
            )
        ]

    def _direct_input(self, wiring):
        return self._grouped(wiring.x.bordered(self._columns))

    def _grouped(self, array, axis=1):
        """See the maps along an axis as [groups, maps]; of a block [1, c, ...] the first axis goes."""
        maps = array[0] if axis else array
        return maps.reshape(self.groups, -1, *maps.shape[1:])
