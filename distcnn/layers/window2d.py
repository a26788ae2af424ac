"""The bases of layers that slide a window over images: where windows lie, and the shape that comes out."""

import operator
from dataclasses import dataclass, field

from distcnn.errors import NetError
from distcnn.kernels.axis import Axis
from distcnn.layers.base import Layer
from distcnn.layers.checks import check_image, check_whole, check_yes_or_no, is_whole
from distcnn.layers.declarations import Parameter, Shape

Pair = int | tuple[int, int]  # a number for rows and columns, or one for each


class Window2D(Layer):
    """A layer with windows. kernel_size, stride and padding are whole numbers, or pairs (of rows, of columns)."""

    kernel_size: Pair
    stride: Pair | None
    padding: Pair
    dilation: Pair = 1  # distance of neighboring taps
    ceil_mode: bool = False
    _axes: tuple[Axis, Axis]

    def __post_init__(self) -> None:
        check_yes_or_no(self, ceil_mode=self.ceil_mode)
        names = ("kernel_size", 1), ("stride", 1), ("padding", 0), ("dilation", 1)
        pairs = [self.pair(name, least) for name, least in names]
        object.__setattr__(self, "_axes", tuple(Axis(*numbers) for numbers in zip(*pairs, strict=True)))
        for name, _ in names:  # lists become tuples, so that layers are hashable
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def axes(self) -> tuple[Axis, Axis]:
        """How windows lie from row to row, and from column to column."""
        return self._axes

    @property
    def taps(self) -> tuple[int, int]:
        """How many rows and columns of taps a window has."""
        down, across = self.axes
        return down.kernel_size, across.kernel_size

    def window_counts(self, shape: Shape) -> tuple[int, int]:
        """Return (oh, ow) for images of `shape`; raise NetError if no window fits."""
        _, *sizes = check_image(self, shape)
        for axis, size, what in zip(self.axes, sizes, ("rows", "columns"), strict=True):
            if not axis.count(size, self.ceil_mode):
                least = axis.extent - 2 * axis.padding
                raise NetError(
                    f"{self} needs at least {least} {what}, but its input {shape} has {size}: use larger images "
                    f"or a smaller net"
                )
        (down, across), (height, width) = self.axes, sizes
        return down.count(height, self.ceil_mode), across.count(width, self.ceil_mode)

    def pair(self, name: str, least: int) -> tuple[int, int]:
        """Return the argument `name` as (of rows, of columns); raise NetError if one is below `least`."""
        value = getattr(self, name)
        both = value if isinstance(value, (tuple, list)) else (value, value)
        if len(both) == 2 and all(is_whole(each, least) for each in both):
            return operator.index(both[0]), operator.index(both[1])
        wanted = f"wanted a whole number from {least} on, below 2**31, or a pair of them"
        raise NetError(f"{type(self).__name__}: {name} is {value!r}; {wanted}")


@dataclass(frozen=True)
class Filters2D(Window2D):
    """A layer in which each output is a weighted sum over a window of all channels, or of those of its group.

    (c, h, w) -> (out_channels, oh, ow), oh = (h + 2 padding - dilation (kernel_size - 1) - 1) // stride + 1.
    """

    out_channels: int
    kernel_size: Pair
    stride: Pair = 1
    padding: Pair = 0
    dilation: Pair = 1
    bias: bool = field(default=True, kw_only=True)

    groups = 1  # equal parts of the channels that do not see each other

    def __post_init__(self) -> None:
        check_whole(self, 1, out_channels=self.out_channels)
        check_yes_or_no(self, bias=self.bias)
        super().__post_init__()

    def output_shape(self, shape: Shape) -> Shape:
        return self.out_channels, *self.window_counts(shape)

    def with_bias(self, weight: Parameter, shape: Shape) -> dict[str, Parameter]:
        """Return the weight, and the bias of this shape if the layer has one, by name."""
        return {"weight": weight, "bias": Parameter(shape)} if self.bias else {"weight": weight}
