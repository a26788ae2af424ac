"""Convolution: the layer, and the choice of the algorithms that compute it."""

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache, reduce
from typing import NamedTuple

import numpy as np

from distcnn.errors import NetError
from distcnn.layers.argument_order import remember_positions
from distcnn.layers.base import LayerBuffers
from distcnn.layers.checks import check_whole
from distcnn.layers.convolution import matmul, winograd, winograd_rows
from distcnn.layers.convolution.algorithm import Algorithm
from distcnn.layers.convolution.direct import Direct
from distcnn.layers.declarations import NORM, RELU, Array, Call, Fusion, MemoryUse, Parameter, Shape
from distcnn.layers.literals import SET_BY_NET
from distcnn.layers.values import Border
from distcnn.layers.window2d import Filters2D


class Algorithms(NamedTuple):
    """The algorithms for the three directions: the forward pass, the gradient of the weights, and that of the data."""

    forward: Algorithm
    weights: Algorithm
    data: Algorithm


@remember_positions
@dataclass(frozen=True)
class Conv2D(Filters2D):
    """y[o] = bias[o] + sum over c of the cross-correlation of x[c] with weight[o, c] (PyTorch's Conv2d).

    out_channels: the number of channels of y.
    kernel_size, stride, padding, dilation: a whole number, or a pair (of rows, of columns).
    groups: the number of equal groups of channels; the outputs of a group depend only on the inputs of the same group.
        With as many groups as x has channels, the convolution is depthwise.
    conv: "winograd" for the fastest algorithm, "direct" for the formula; `Net` sets it.

    weight: (out_channels, c / groups, rows, columns of the kernel).
    bias: (out_channels,).
    """

    groups: int = 1
    conv: str = field(default="winograd", kw_only=True, metadata={SET_BY_NET: True})

    fusion = Fusion(forward=(RELU,), backward=(RELU,), weights=(NORM,))
    memory = MemoryUse(reads_y=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole(self, 1, groups=self.groups)

    def output_shape(self, shape: Shape) -> Shape:
        result = super().output_shape(shape)
        if shape[0] % self.groups or self.out_channels % self.groups:
            found = f"x has {shape[0]} and y is to have {self.out_channels}"
            raise NetError(f"{self}: groups must divide the channels, but {found}")
        return result

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        filter_shape = (shape[0] // self.groups, *self.taps)
        weight = Parameter((self.out_channels, *filter_shape), fan_in=math.prod(filter_shape))
        return self.with_bias(weight, (self.out_channels,))

    def using(self, conv: str) -> "Conv2D":
        return replace(self, conv=conv) if conv == "direct" else self

    # ---- what the planner asks ----

    def border(self, shape: Shape) -> Border:
        chosen = algorithms(self, shape)
        return Border.union(chosen.forward.border, chosen.weights.border)

    def gradient_border(self, shape: Shape) -> Border:
        chosen = algorithms(self, shape)
        return Border.union(chosen.weights.weights_border, chosen.data.data_border)

    def gradient_over_input(self, shape: Shape) -> bool:
        return algorithms(self, shape).data.over_input

    def saved(self, shape: Shape) -> dict[str, Shape]:
        return reduce(dict.__or__, (each.saved for each in algorithms(self, shape)))

    def prepared(self, shape: Shape, with_dx: bool) -> dict[str, Array | Shape]:
        every = [each.prepared(with_dx) for each in algorithms(self, shape)]
        return {name: array for arrays in every for name, array in arrays.items()}

    # ---- calls ----

    def prepare(self, buffers: LayerBuffers) -> list[Call]:
        chosen = dict.fromkeys(algorithms(self, buffers.x.shape))
        return [call for each in chosen for call in each.prepare(buffers)]

    def forward(self, buffers: LayerBuffers) -> list[Call]:
        bias = buffers.parameters.get("bias", np.zeros(self.out_channels, np.float32))
        return algorithms(self, buffers.x.shape).forward.forward(buffers, bias)

    def backward(self, buffers: LayerBuffers) -> list[Call]:
        of_weights = [] if buffers.frozen else self.backward_weights(buffers)
        return of_weights + (self.backward_data(buffers) if buffers.dx else [])

    def backward_weights(self, buffers: LayerBuffers) -> list[Call]:
        """Return the calls that add the gradients of the weight and the bias to their sums."""
        return algorithms(self, buffers.x.shape).weights.backward_weights(buffers)

    def backward_data(self, buffers: LayerBuffers) -> list[Call]:
        """Return the calls that compute dx."""
        return algorithms(self, buffers.x.shape).data.backward_data(buffers)


@lru_cache(maxsize=1024)
def algorithms(layer: Conv2D, shape: Shape) -> Algorithms:
    """Return the fastest algorithms of a layer for images of `shape`; they depend on nothing else."""
    direct = Direct(layer, shape)
    if matmul.fits(layer, shape):
        return Algorithms(*[matmul.MatMul(layer, shape)] * 3)
    if layer.conv == "direct":
        return Algorithms(direct, direct, direct)
    if winograd_rows.fits(layer, shape):
        return Algorithms(*[winograd_rows.WinogradRows(layer, shape)] * 3)
    if winograd.fits(layer, shape):
        both = winograd.Winograd(layer, shape)
        return Algorithms(both, both if winograd.fits_weights(layer, shape) else direct, both)
    return Algorithms(direct, direct, direct)
