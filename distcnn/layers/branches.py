"""Branches: layers that save an output by name and read it again, so that a list of layers can be any acyclic graph.

    SaveAs("x"), Conv2D(16, 3, padding=1), ReLU(), Conv2D(16, 3, padding=1), Add("x"), ReLU()

is a residual block. `StartFrom("x")` begins another branch at the saved output.
"""

from dataclasses import dataclass

import numpy as np

from distcnn.errors import NetError
from distcnn.kernels import branch as kernels
from distcnn.layers.base import Layer, LayerBuffers
from distcnn.layers.checks import check_whole
from distcnn.layers.declarations import RELU, Call, Fusion, MemoryUse, Shape


class Branch(Layer):
    """The base class of layers that save an output under a name, or read a saved output."""

    name: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise NetError(f"{type(self).__name__}: name is {self.name!r}; wanted text")

    def flops(self, shape: Shape) -> int:
        return 0


class Reader(Branch):
    """The base class of layers that read the output saved as `name`."""

    @property
    def reads(self) -> str:
        return self.name

    def add_gradient(self, buffers: LayerBuffers, gradient: np.ndarray, stride: int = 1) -> list[Call]:
        """Return the calls that add a gradient to the gradient of the saved output; none if that is not needed.

        buffers: the buffers of this layer.
        gradient: float32 [1, c, rows, columns, 16].
        stride: row r and column q of the gradient belong to row stride * r and column stride * q of the saved output.
        """
        return [(kernels.spread, (gradient, stride, buffers.dskip.channels))] if buffers.dskip else []


@dataclass(frozen=True)
class SaveAs(Branch):
    """y = x; later layers can read y by this name. Any shape."""

    name: str

    memory = MemoryUse(y_is_x=True, dx_is_dy=True)

    @property
    def saves_as(self) -> str:
        return self.name

    def output_shape(self, shape: Shape) -> Shape:
        return shape

    def forward(self, buffers: LayerBuffers) -> list[Call]:
        return []

    def backward(self, buffers: LayerBuffers) -> list[Call]:
        """Return the calls that add the gradients from all readers of y to the gradient of y, in place."""
        if buffers.dskip is None:
            return []
        dx, dskip = buffers.dx.channels, buffers.dskip.channels
        return [(kernels.spread, (dskip, 1, dx)), (kernels.clear, (dskip,))]


@dataclass(frozen=True)
class Add(Reader):
    """y = x + every `stride`-th row and column of the output saved as `name`. Any shape.

    If the saved output has fewer channels than x, its missing channels count as 0 (He et al. 2016, shortcut A).
    """

    name: str
    stride: int = 1

    fusion = Fusion(forward=(RELU,))
    memory = MemoryUse(dx_is_dy=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole(self, 1, stride=self.stride)

    def output_shape(self, shape: Shape, saved: Shape) -> Shape:
        sampled = (saved[0], *(-(-n // self.stride) for n in saved[1:]))
        if len(saved) != len(shape) or sampled[1:] != shape[1:] or saved[0] > shape[0]:
            raise NetError(f"{self} cannot add {saved}, saved as {self.name!r}, to its input {shape}")
        return shape

    def forward(self, buffers: LayerBuffers) -> list[Call]:
        arrays = buffers.x.channels, buffers.skip.channels, self.stride, buffers.y.channels
        return [(kernels.add_forward(buffers.relu), arrays)]

    def backward(self, buffers: LayerBuffers) -> list[Call]:
        return self.add_gradient(buffers, buffers.dy.channels, self.stride)


@dataclass(frozen=True)
class Concatenate(Reader):
    """y = the channels (or features) of x, then those of the output saved as `name`."""

    name: str

    def output_shape(self, shape: Shape, saved: Shape) -> Shape:
        if len(saved) != len(shape) or saved[1:] != shape[1:]:
            raise NetError(f"{self} cannot append {saved}, saved as {self.name!r}, to its input {shape}")
        return shape[0] + saved[0], *shape[1:]

    def forward(self, buffers: LayerBuffers) -> list[Call]:
        c, y = buffers.x.shape[0], buffers.y.channels
        saved = buffers.skip.channels
        return [(kernels.copy, (buffers.x.channels, y[:, :c])), (kernels.copy, (saved, y[:, c:]))]

    def backward(self, buffers: LayerBuffers) -> list[Call]:
        c, dy = buffers.x.shape[0], buffers.dy.channels
        calls = self.add_gradient(buffers, dy[:, c:])
        return calls + ([(kernels.copy, (dy[:, :c], buffers.dx.channels))] if buffers.dx else [])


@dataclass(frozen=True)
class StartFrom(Reader):
    """y = the output saved as `name`. x, the end of another branch, is not read; a SaveAs should come before this."""

    name: str

    def output_shape(self, shape: Shape, saved: Shape) -> Shape:
        return saved

    def forward(self, buffers: LayerBuffers) -> list[Call]:
        return [(kernels.copy, (buffers.skip.channels, buffers.y.channels))]

    def backward(self, buffers: LayerBuffers) -> list[Call]:
        calls = self.add_gradient(buffers, buffers.dy.channels)
        return calls + ([(kernels.clear, (buffers.dx.channels,))] if buffers.dx else [])
