"""Convolution in which each output map depends on only some of the input maps."""

import math
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from distcnn.errors import NetError
from distcnn.kernels import connection_table as kernels
from distcnn.layers.base import Layer, LayerBuffers
from distcnn.layers.checks import check_image
from distcnn.layers.convolution.conv2d import Conv2D
from distcnn.layers.declarations import RELU, Array, Call, Fusion, MemoryUse, Parameter, Shape
from distcnn.layers.literals import SET_BY_NET
from distcnn.layers.values import Border
from distcnn.layers.window2d import Pair

WEIGHT = "whole_weight"  # the filters of all pairs of maps, and their exact sums


@dataclass(frozen=True)
class TableConv2D(Layer):
    """A Conv2D in which output map o depends only on the input maps connections[o] (LeCun et al. 1998, table I).

    It is computed as a Conv2D of all pairs of maps, in which the filters of the other pairs are 0: that is faster than
    a kernel that skips these pairs.

    connections: for each output map the numbers of the input maps.
    kernel_size, stride, padding, dilation: as in Conv2D.

    weight: (pairs, rows, columns of the kernel), in the order of the table.
    bias: (outputs,).
    """

    connections: tuple[tuple[int, ...], ...]
    kernel_size: Pair
    stride: Pair = 1
    padding: Pair = 0
    dilation: Pair = 1
    bias: bool = field(default=True, kw_only=True)
    conv: str = field(default="winograd", kw_only=True, metadata={SET_BY_NET: True})

    fusion = Fusion(forward=(RELU,), backward=(RELU,))
    memory = MemoryUse(reads_y=False)

    def __post_init__(self) -> None:
        try:
            rows = tuple(tuple(row) for row in self.connections)
        except TypeError:
            rows = ((),)
        object.__setattr__(self, "connections", rows)
        if not all(map(_is_row, rows)):
            wanted = "the numbers of input maps, for each output map"
            raise NetError(f"TableConv2D: connections must be {wanted}")
        _ = self._whole  # raises NetError for arguments out of range

    def using(self, conv: str) -> "TableConv2D":
        return replace(self, conv=conv)

    def output_shape(self, shape: Shape) -> Shape:
        channels, last = check_image(self, shape)[0], max(map(max, self.connections))
        if last >= channels:
            found = f"the table names input map {last}, but the input has maps 0 to {channels - 1}"
            raise NetError(f"TableConv2D: {found}")
        return self._whole.output_shape(shape)

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        taps, pairs, outputs = self._whole.taps, len(self._pairs), len(self.connections)
        weight = Parameter((pairs, *taps), fan_in=pairs * math.prod(taps) / outputs)  # the mean over outputs
        return self._whole.with_bias(weight, (outputs,))

    def border(self, shape: Shape) -> Border:
        return self._whole.border(shape)

    def gradient_border(self, shape: Shape) -> Border:
        return self._whole.gradient_border(shape)

    def saved(self, shape: Shape) -> dict[str, Shape]:
        return self._whole.saved(shape)

    def prepared(self, shape: Shape, with_dx: bool) -> dict[str, Array | Shape]:
        return {WEIGHT: self._weight_shape(shape)} | self._whole.prepared(shape, with_dx)

    def group_shared(self, shape: Shape) -> dict[str, Array]:
        return {WEIGHT: Array(self._weight_shape(shape), "int64")}

    def prepare(self, buffers: LayerBuffers) -> list[Call]:
        weight, whole = buffers.parameters["weight"], buffers.prepared[WEIGHT]
        expand = kernels.expand, (_taps(weight), self._pairs, _taps(whole))
        return [expand, *self._whole.prepare(_of_whole(buffers))]

    def forward(self, buffers: LayerBuffers) -> list[Call]:
        return self._whole.forward(_of_whole(buffers))

    def backward(self, buffers: LayerBuffers) -> list[Call]:
        whole, sums = buffers.group_shared[WEIGHT], buffers.sums["weight"]
        collect = kernels.collect, (_taps(whole), self._pairs, _taps(sums))
        return [*self._whole.backward(_of_whole(buffers)), *([] if buffers.frozen else [collect])]

    @cached_property
    def _whole(self) -> Conv2D:
        """The Conv2D of all pairs of maps."""
        names = "kernel_size", "stride", "padding", "dilation", "bias", "conv"
        return Conv2D(len(self.connections), **{name: getattr(self, name) for name in names})

    @cached_property
    def _pairs(self) -> np.ndarray:
        """(output map, input map) of each filter, int64 [pairs, 2]."""
        return np.array([(o, c) for o, row in enumerate(self.connections) for c in row], np.int64)

    def _weight_shape(self, shape: Shape) -> Shape:
        return self._whole.parameters(shape)["weight"].shape


def _is_row(row: tuple) -> bool:
    """Return whether a row of the table holds distinct numbers of maps."""
    return bool(row) and all(type(c) is int and c >= 0 for c in row) and len({*row}) == len(row)


def _of_whole(buffers: LayerBuffers) -> LayerBuffers:
    """Return the buffers of the Conv2D of all pairs of maps."""
    parameters = buffers.parameters | {"weight": buffers.prepared[WEIGHT]}
    sums = buffers.sums | {"weight": buffers.group_shared[WEIGHT]}
    return replace(buffers, parameters=parameters, sums=sums)


def _taps(array: np.ndarray) -> np.ndarray:
    """Return a view in which the axes of rows and columns of a filter are one axis."""
    return array.reshape(*array.shape[:-2], -1)
