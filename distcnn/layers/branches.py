"""Branches: a list of layers is any acyclic graph when outputs can be kept by name and taken up again.

    Keep("x"), Conv2D(16, 3, padding=1), ReLU(), Conv2D(16, 3, padding=1), Add("x"), ReLU()

is a residual block; `From("x")` begins another branch at the kept output.
"""

from dataclasses import dataclass

from distcnn.errors import NetError
from distcnn.kernels import branch as kernels
from distcnn.layers.base import Layer, check_whole


class Junction(Layer):
    """A layer that changes no number of its input by itself."""

    def __post_init__(self):
        if not isinstance(self.name, str):
            raise NetError(f"{type(self).__name__}: name is {self.name!r}; wanted text")

    def flops(self, shape):
        return 0

    def give(self, wiring, dy, stride=1):
        """Return the calls that add dy to the gradient of the kept output, if that is wanted."""
        return [(kernels.spread, (dy, stride, wiring.dother.channels))] if wiring.dother else []


@dataclass(frozen=True)
class Keep(Junction):
    """y = x, which later layers may take up by this name. Any shape."""

    name: str

    in_place = gradient_in_place = True

    @property
    def keeps(self):
        return self.name

    def output_shape(self, shape):
        return shape

    def forward(self, wiring):
        return []

    def backward(self, wiring):
        """The gradient of x is that of y, in the same memory, and what the takers have added up."""
        if wiring.dother is None:
            return []
        dx, dother = wiring.dx.channels, wiring.dother.channels
        return [(kernels.spread, (dother, 1, dx)), (kernels.clear, (dother,))]


@dataclass(frozen=True)
class Add(Junction):
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
    def takes(self):
        return self.name

    def output_shape(self, shape, kept):
        sampled = (kept[0], *(-(-n // self.stride) for n in kept[1:]))
        if len(kept) != len(shape) or sampled[1:] != shape[1:] or kept[0] > shape[0]:
            raise NetError(f"{self} cannot add {kept}, kept as {self.name!r}, to its input {shape}")
        return shape

    def forward(self, wiring):
        arrays = wiring.x.channels, wiring.other.channels, self.stride, wiring.y.channels
        return [(kernels.add_forward(wiring.relu), arrays)]

    def backward(self, wiring):
        """The gradient of x is that of y, in the same memory."""
        return self.give(wiring, wiring.dy.channels, self.stride)


@dataclass(frozen=True)
class Concatenate(Junction):
    """y = the channels (or features) of x, then those of the output kept as `name`."""

    name: str

    @property
    def takes(self):
        return self.name

    def output_shape(self, shape, kept):
        if len(kept) != len(shape) or kept[1:] != shape[1:]:
            raise NetError(f"{self} cannot put {kept}, kept as {self.name!r}, behind its input {shape}")
        return shape[0] + kept[0], *shape[1:]

    def forward(self, wiring):
        c, y = wiring.x.shape[0], wiring.y.channels
        kept = wiring.other.channels
        return [(kernels.copy, (wiring.x.channels, y[:, :c])), (kernels.copy, (kept, y[:, c:]))]

    def backward(self, wiring):
        c, dy = wiring.x.shape[0], wiring.dy.channels
        calls = self.give(wiring, dy[:, c:])
        return calls + ([(kernels.copy, (dy[:, :c], wiring.dx.channels))] if wiring.dx else [])


@dataclass(frozen=True)
class From(Junction):
    """y = the output kept as `name`; the layer before has ended a branch, and should be a Keep."""

    name: str

    @property
    def takes(self):
        return self.name

    def output_shape(self, shape, kept):
        return kept

    def forward(self, wiring):
        return [(kernels.copy, (wiring.other.channels, wiring.y.channels))]

    def backward(self, wiring):
        calls = self.give(wiring, wiring.dy.channels)
        return calls + ([(kernels.clear, (wiring.dx.channels,))] if wiring.dx else [])
