"""Branches: a list of layers is any acyclic graph when outputs can be kept by name and taken up again.

    Keep("x"), Conv2D(16, 3, padding=1), ReLU(), Conv2D(16, 3, padding=1), Add("x"), ReLU()

is a residual block; `From("x")` begins another branch at the kept output.
"""

from dataclasses import dataclass

from distcnn.errors import NetError
from distcnn.kernels import branch as kernels
from distcnn.layers.base import Layer, check_whole


class Branch(Layer):
    """A layer that changes no number of its input by itself."""

    def __post_init__(self):
        if not isinstance(self.name, str):
            raise NetError(f"{type(self).__name__}: name is {self.name!r}; wanted text")

    def flops(self, shape):
        return 0

    def give(self, buffers, dy, stride=1):
        """Return the calls that add dy to the gradient of the kept output, if that is wanted."""
        return [(kernels.spread, (dy, stride, buffers.dskip.channels))] if buffers.dskip else []


@dataclass(frozen=True)
class SaveAs(Branch):
    """y = x, which later layers may take up by this name. Any shape."""

    name: str

    in_place = gradient_in_place = True

    @property
    def saves_as(self):
        return self.name

    def output_shape(self, shape):
        return shape

    def forward(self, buffers):
        return []

    def backward(self, buffers):
        """The gradient of x is that of y, in the same memory, and what the takers have added up."""
        if buffers.dskip is None:
            return []
        dx, dskip = buffers.dx.channels, buffers.dskip.channels
        return [(kernels.spread, (dskip, 1, dx)), (kernels.clear, (dskip,))]


@dataclass(frozen=True)
class Add(Branch):
    """y = x + the output kept as `name`, of which every `stride`-th row and column counts.

    Channels that the kept output lacks count as 0: He et al. 2016, shortcut A. Any shape.
    """

    name: str
    stride: int = 1

    applies_relu = True
    gradient_in_place = True

    def __post_init__(self):
        super().__post_init__()
        check_whole(self, 1, stride=self.stride)

    @property
    def reads(self):
        return self.name

    def output_shape(self, shape, saved):
        sampled = (saved[0], *(-(-n // self.stride) for n in saved[1:]))
        if len(saved) != len(shape) or sampled[1:] != shape[1:] or saved[0] > shape[0]:
            raise NetError(f"{self} cannot add {saved}, kept as {self.name!r}, to its input {shape}")
        return shape

    def forward(self, buffers):
        arrays = buffers.x.channels, buffers.skip.channels, self.stride, buffers.y.channels
        return [(kernels.add_forward(buffers.relu), arrays)]

    def backward(self, buffers):
        """The gradient of x is that of y, in the same memory."""
        return self.give(buffers, buffers.dy.channels, self.stride)


@dataclass(frozen=True)
class Concatenate(Branch):
    """y = the channels (or features) of x, then those of the output kept as `name`."""

    name: str

    @property
    def reads(self):
        return self.name

    def output_shape(self, shape, saved):
        if len(saved) != len(shape) or saved[1:] != shape[1:]:
            raise NetError(f"{self} cannot put {saved}, kept as {self.name!r}, behind its input {shape}")
        return shape[0] + saved[0], *shape[1:]

    def forward(self, buffers):
        c, y = buffers.x.shape[0], buffers.y.channels
        saved = buffers.skip.channels
        return [(kernels.copy, (buffers.x.channels, y[:, :c])), (kernels.copy, (saved, y[:, c:]))]

    def backward(self, buffers):
        c, dy = buffers.x.shape[0], buffers.dy.channels
        calls = self.give(buffers, dy[:, c:])
        return calls + ([(kernels.copy, (dy[:, :c], buffers.dx.channels))] if buffers.dx else [])


@dataclass(frozen=True)
class StartFrom(Branch):
    """y = the output kept as `name`; the layer before has ended a branch, and should be a Keep."""

    name: str

    @property
    def reads(self):
        return self.name

    def output_shape(self, shape, saved):
        return saved

    def forward(self, buffers):
        return [(kernels.copy, (buffers.skip.channels, buffers.y.channels))]

    def backward(self, buffers):
        calls = self.give(buffers, buffers.dy.channels)
        return calls + ([(kernels.clear, (buffers.dx.channels,))] if buffers.dx else [])
