"""What all layers share that slide a window over images: how it lies, what fits, and the shape that comes out."""

import operator
from dataclasses import dataclass, field

from distcnn.errors import NetError
from distcnn.kernels.axis import Axis
from distcnn.layers.base import Layer, Parameter, check_image, check_whole, check_yes_or_no, is_whole


class Window2D(Layer):
    """A layer with windows. kernel_size, stride and padding are whole numbers, or pairs (of rows, of columns)."""

    dilation = 1  # distance of neighbouring taps
    ceil_mode = False

    def __post_init__(self):
        check_yes_or_no(self, ceil_mode=self.ceil_mode)
        pairs = (self.pair(name, least) for name, least in (("kernel_size", 1), ("stride", 1)))
        pairs = (*pairs, self.pair("padding", 0), self.pair("dilation", 1))
        object.__setattr__(self, "_axes", tuple(Axis(*numbers) for numbers in zip(*pairs, strict=True)))

    @property
    def axes(self):
        """How windows lie along rows, from row to row, and along columns."""
        return self._axes

    def window_counts(self, shape):
        """Return (oh, ow) for images of `shape`, or raise NetError if no window fits."""
        _, *sizes = check_image(self, shape)
        for axis, size, what in zip(self.axes, sizes, ("rows", "columns"), strict=True):
            if not axis.count(size, self.ceil_mode):
                raise NetError(
                    f"{self} needs at least {axis.extent - 2 * axis.padding} {what}, but its input {shape} has "
                    f"{size}: use larger images or a smaller net"
                )
        return tuple(axis.count(size, self.ceil_mode) for axis, size in zip(self.axes, sizes, strict=True))

    @property
    def taps(self):
        """Rows and columns of a window's taps."""
        return tuple(axis.kernel_size for axis in self.axes)

    def pair(self, name, least):
        """Return an argument as its pair."""
        value = getattr(self, name)
        both = value if isinstance(value, (tuple, list)) else (value, value)
        if len(both) == 2 and all(is_whole(each, least) for each in both):
            return tuple(map(operator.index, both))
        raise NetError(
            f"{type(self).__name__}: {name} is {value!r}; wanted a whole number from {least} on, below 2**31, "
            "or a pair of them"
        )


@dataclass(frozen=True)
class Filters2D(Window2D):
    """A layer in which each output is a weighted sum over a window of all channels, or of those of its group.

    (c, h, w) -> (out_channels, oh, ow), oh = (h + 2 padding - dilation (kernel_size - 1) - 1) // stride + 1.
    """

    out_channels: int
    kernel_size: int | tuple[int, int]
    stride: int | tuple[int, int] = 1
    padding: int | tuple[int, int] = 0
    dilation: int | tuple[int, int] = 1
    bias: bool = field(default=True, kw_only=True)

    def __post_init__(self):
        check_whole(self, 1, out_channels=self.out_channels)
        check_yes_or_no(self, bias=self.bias)
        super().__post_init__()

    def output_shape(self, shape):
        return self.out_channels, *self.window_counts(shape)

    def with_bias(self, weight, shape):
        """Return these parameters: the weight, and if there is one, the bias of this shape."""
        return {"weight": weight, "bias": Parameter(shape)} if self.bias else {"weight": weight}
