"""Convolution whose output maps each see only some of the input's maps."""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from distcnn.errors import NetError
from distcnn.kernels import connection_table as kernels
from distcnn.lanes import aligned
from distcnn.layers.base import Layer, Parameter, check_image
from distcnn.layers.convolution.conv2d import Conv2D


@dataclass(frozen=True)
class TableConv2D(Layer):
    """A Conv2D in which output map o sees the input maps connections[o] alone (LeCun et al. 1998, table I).

    weight: (pairs, rows, columns of the kernel), in the order of the table; bias: (outputs,). It is computed as the
    whole Conv2D with filters of 0 for the other pairs: that kernel is faster than one that leaves them out.
    """

    connections: tuple[tuple[int, ...], ...]
    kernel_size: int | tuple[int, int]
    stride: int | tuple[int, int] = 1
    padding: int | tuple[int, int] = 0
    dilation: int | tuple[int, int] = 1
    bias: bool = field(default=True, kw_only=True)
    conv: str = field(default="winograd", repr=False, kw_only=True)

    applies_relu = True
    applies_mask = True
    reads_output = False

    def __post_init__(self):
        try:
            rows = tuple(tuple(row) for row in self.connections)
        except TypeError:
            rows = ((),)
        object.__setattr__(self, "connections", rows)
        if not all(
            row and all(type(c) is int and c >= 0 for c in row) and len({*row}) == len(row) for row in rows
        ):
            raise NetError(
                "TableConv2D: connections are wanted as the numbers of input maps, for each output map"
            )
        self._whole.__post_init__()

    def using(self, conv):
        return replace(self, conv=conv)

    def output_shape(self, shape):
        channels, last = check_image(self, shape)[0], max(map(max, self.connections))
        if last >= channels:
            raise NetError(
                f"TableConv2D: the table names input map {last}, but the input has maps 0 to {channels - 1}"
            )
        return self._whole.output_shape(shape)

    def parameters(self, shape):
        taps, pairs, outputs = self._whole.taps, len(self._pairs), len(self.connections)
        weight = Parameter((pairs, *taps), fan_in=pairs * math.prod(taps) / outputs)  # in the mean
        return self._whole.with_bias(weight, (outputs,))

    def border(self, shape):
        return self._whole.border(shape)

    def gradient_border(self, shape):
        return self._whole.gradient_border(shape)

    def saved(self, shape):
        return self._whole.saved(shape) | {"weight": self._whole.parameters(shape)["weight"].shape}

    def group_shared(self, shape):
        return self._whole.group_shared(shape)

    def prepare(self, buffers):
        weight, whole = buffers.parameters["weight"], buffers.saved["weight"]
        parameters, sums = {"weight": whole}, {"weight": aligned(whole.shape, np.int64)}
        buffers.inner = replace(buffers, parameters=buffers.parameters | parameters, sums=buffers.sums | sums)
        return [
            (kernels.expand, (_taps(weight), self._pairs, _taps(whole))),
            *self._whole.prepare(buffers.inner),
        ]

    def forward(self, buffers):
        return self._whole.forward(buffers.inner)

    def backward(self, buffers):
        arrays = _taps(buffers.inner.sums["weight"]), self._pairs, _taps(buffers.sums["weight"])
        collect = kernels.collect, arrays
        return [*self._whole.backward(buffers.inner), collect]

    @property
    def _whole(self):
        """The convolution of all pairs."""
        window = self.kernel_size, self.stride, self.padding, self.dilation
        return Conv2D(len(self.connections), *window, bias=self.bias, conv=self.conv)

    @property
    def _pairs(self):
        """(output map, input map) of each filter, int64 [pairs, 2]."""
        return np.array([(o, c) for o, row in enumerate(self.connections) for c in row], np.int64)


def _taps(array):
    """See a window's rows and columns as one axis."""
    return array.reshape(*array.shape[:-2], -1)
