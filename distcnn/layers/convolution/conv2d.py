"""Convolution: a sliding dot product with shared weights."""

import math
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import NamedTuple

import numpy as np

from distcnn.errors import NetError
from distcnn.layers.base import Border, Parameter, check_whole
from distcnn.layers.convolution import matmul, winograd, winograd_rows
from distcnn.layers.convolution.direct import Direct
from distcnn.layers.window2d import Filters2D


class Ways(NamedTuple):
    """The algorithm of each direction: of the forward pass, and of the gradients of the weights and of the data."""

    forward: Direct
    weights: Direct
    data: Direct


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

    def ways(self, shape):
        """Return the algorithms that are fastest: they follow from the layer's shape alone."""
        direct = Direct(self, shape)
        if matmul.fits(self, shape):
            return Ways(*[matmul.Product(self, shape)] * 3)
        if self.conv == "direct":
            return Ways(direct, direct, direct)
        if winograd_rows.fits(self, shape):
            return Ways(*[winograd_rows.RowWise(self, shape)] * 3)
        if winograd.fits(self, shape):
            both = winograd.Winograd(self, shape)
            return Ways(both, both if winograd.fits_weights(self, shape) else direct, both)
        return Ways(direct, direct, direct)

    # ---- what they want ----

    def common(self, shape):
        return reduce(dict.__or__, (way.common for way in self.ways(shape)))

    def kept(self, shape):
        return reduce(dict.__or__, (way.kept for way in self.ways(shape)))

    def border(self, shape):
        ways = self.ways(shape)
        return Border.union(ways.forward.border, ways.weights.border)

    def gradient_border(self, shape):
        ways = self.ways(shape)
        return Border.union(ways.weights.weights_border, ways.data.data_border)

    def gradient_over_input(self, shape):
        return self.ways(shape).data.over_input

    # ---- calls ----

    def prepare(self, wiring):
        return [call for way in dict.fromkeys(self.ways(wiring.x.shape)) for call in way.prepare(wiring)]

    def forward(self, wiring):
        bias = wiring.parameters.get("bias", np.zeros(self.out_channels, np.float32))
        return self.ways(wiring.x.shape).forward.forward(wiring, bias)

    def backward(self, wiring):
        return self.backward_weights(wiring) + (self.backward_data(wiring) if wiring.dx else [])

    def backward_weights(self, wiring):
        """Return the calls that add the gradients of the weight and the bias to their sums."""
        return self.ways(wiring.x.shape).weights.backward_weights(wiring)

    def backward_data(self, wiring):
        """Return the calls that compute dx."""
        return self.ways(wiring.x.shape).data.backward_data(wiring)
