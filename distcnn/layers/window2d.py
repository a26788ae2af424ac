"""The base classes of layers that slide a window over images: positions of windows, and output shapes."""

import operator
from dataclasses import dataclass, field

from distcnn.errors import NetError
from distcnn.kernels.axis import Axis
from distcnn.layers.argument_order import check_filter_order
from distcnn.layers.base import Layer
from distcnn.layers.checks import check_image, check_whole, check_yes_or_no, is_whole
from distcnn.layers.declarations import Parameter, Shape

Pair = int | tuple[int, int]  # a number for rows and columns, or one for each


class Window2D(Layer):
    """A layer with windows.

    kernel_size, stride, padding: a whole number, or a pair (of rows, of columns).
    dilation: likewise; the distance between neighboring taps of a window.
    ceil_mode: whether there are also windows that the edge of the image cuts off.
    """

    kernel_size: Pair
    stride: Pair | None
    padding: Pair
    dilation: Pair = 1
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
        """The positions of windows along the rows, and along the columns."""
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
                needs = f"{self} needs at least {axis.extent - 2 * axis.padding} {what}"
                remedy = "use larger images or a smaller net"
                raise NetError(f"{needs}, but its input {shape} has {size}: {remedy}")
        (down, across), (height, width) = self.axes, sizes
        return down.count(height, self.ceil_mode), across.count(width, self.ceil_mode)

    def pair(self, name: str, least: int) -> tuple[int, int]:
        """Return an argument of the layer as a pair (of rows, of columns).

        name: the name of the argument.
        least: the smallest valid number; NetError is raised for smaller ones.
        """
        value = getattr(self, name)
        both = value if isinstance(value, (tuple, list)) else (value, value)
        if len(both) == 2 and all(is_whole(each, least) for each in both):
            return operator.index(both[0]), operator.index(both[1])
        wanted = f"wanted a whole number from {least} on, below 2**31, or a pair of them"
        raise NetError(f"{type(self).__name__}: {name} is {value!r}; {wanted}")


@dataclass(frozen=True)
class Filters2D(Window2D):
    """A layer in which each output is a weighted sum over a window of all channels, or of the channels of its group.

    (c, h, w) -> (out_channels, oh, ow), oh = (h + 2 padding - dilation (kernel_size - 1) - 1) // stride + 1.

    groups: the number of equal groups of channels; the outputs of a group depend only on the inputs of the same group.
    """

    out_channels: int
    kernel_size: Pair
    stride: Pair = 1
    padding: Pair = 0
    dilation: Pair = 1
    bias: bool = field(default=True, kw_only=True)

    groups = 1

    def __post_init__(self) -> None:
        check_whole(self, 1, out_channels=self.out_channels)
        check_yes_or_no(self, bias=self.bias)
        super().__post_init__()

    def output_shape(self, shape: Shape) -> Shape:
        check_filter_order(self, check_image(self, shape)[0])
        return self.out_channels, *self.window_counts(shape)

    def with_bias(self, weight: Parameter, shape: Shape) -> dict[str, Parameter]:
        """Return the parameters by name: the weight, and the bias if the layer has one.

        weight: the declaration of the weight.
        shape: the shape of the bias.
        """
        return {"weight": weight, "bias": Parameter(shape)} if self.bias else {"weight": weight}
