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


class Algorithms(NamedTuple):
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

    def algorithms(self, shape):
        """Return the algorithms that are fastest: they follow from the layer's shape alone."""
        direct = Direct(self, shape)
        if matmul.fits(self, shape):
            return Algorithms(*[matmul.Product(self, shape)] * 3)
        if self.conv == "direct":
            return Algorithms(direct, direct, direct)
        if winograd_rows.fits(self, shape):
            return Algorithms(*[winograd_rows.RowWise(self, shape)] * 3)
        if winograd.fits(self, shape):
            both = winograd.Winograd(self, shape)
            return Algorithms(both, both if winograd.fits_weights(self, shape) else direct, both)
        return Algorithms(direct, direct, direct)

    # ---- what they want ----

    def group_shared(self, shape):
        return reduce(dict.__or__, (way.group_shared for way in self.algorithms(shape)))

    def saved(self, shape):
        return reduce(dict.__or__, (way.saved for way in self.algorithms(shape)))

    def border(self, shape):
        algorithms = self.algorithms(shape)
        return Border.union(algorithms.forward.border, algorithms.weights.border)

    def gradient_border(self, shape):
        algorithms = self.algorithms(shape)
        return Border.union(algorithms.weights.weights_border, algorithms.data.data_border)

    def gradient_over_input(self, shape):
        return self.algorithms(shape).data.over_input

    # ---- calls ----

    def prepare(self, buffers):
        return [
            call for way in dict.fromkeys(self.algorithms(buffers.x.shape)) for call in way.prepare(buffers)
        ]

    def forward(self, buffers):
        bias = buffers.parameters.get("bias", np.zeros(self.out_channels, np.float32))
        return self.algorithms(buffers.x.shape).forward.forward(buffers, bias)

    def backward(self, buffers):
        return self.backward_weights(buffers) + (self.backward_data(buffers) if buffers.dx else [])

    def backward_weights(self, buffers):
        """Return the calls that add the gradients of the weight and the bias to their sums."""
        return self.algorithms(buffers.x.shape).weights.backward_weights(buffers)

    def backward_data(self, buffers):
        """Return the calls that compute dx."""
        return self.algorithms(buffers.x.shape).data.backward_data(buffers)
