"""Windows along one axis of an image: the arithmetic that all layers with windows and their kernels share."""

from math import gcd
from typing import NamedTuple

from numba import njit


class Axis(NamedTuple):
    """Windows of `kernel_size` taps `dilation` apart; window k begins at pixel k * stride - padding."""

    kernel_size: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1

    @property
    def extent(self) -> int:
        """The number of pixels from a window's first to its last tap."""
        return self.dilation * (self.kernel_size - 1) + 1

    def count(self, size: int, ceil_mode: bool = False) -> int:
        """Return the number of windows in an image, as PyTorch counts them.

        size: the number of pixels of the image, without the padding.
        ceil_mode: whether to count also windows that the edge cuts off, unless they begin beyond the image.
        """
        room = size + 2 * self.padding - self.extent
        if room < 0:
            return 0
        count = (room + (self.stride - 1 if ceil_mode else 0)) // self.stride + 1
        return count - (ceil_mode and (count - 1) * self.stride >= size + self.padding)


def steps(stride: int, dilation: int) -> tuple[int, int]:
    """Return the distance between neighboring taps that cover the same pixel, and between their windows."""
    common = gcd(stride, dilation)
    return stride // common, dilation // common


@njit(inline="always")
def taps_inside(start, axis, size):
    """Return the first and last (excluded) tap inside an image of `size` of the window that begins at pixel `start`."""
    d = axis.dilation
    return max(0, (d - 1 - start) // d), min(axis.kernel_size, (size - start + d - 1) // d)


@njit(inline="always")
def span(window, axis, size):
    """Return where a window without dilation begins, and its first and last (excluded) tap inside the image."""
    start = window * axis.stride - axis.padding
    return start, max(0, -start), min(axis.kernel_size, size - start)


@njit(inline="always")
def whole_windows(axis, size, count):
    """Return the first and last (excluded) of `count` windows without dilation that no edge cuts off."""
    first = min((axis.padding + axis.stride - 1) // axis.stride, count)
    return first, max(first, min(count, (size + axis.padding - axis.kernel_size) // axis.stride + 1))


@njit(inline="always")
def windows_inside(tap, axis, size, count):
    """Return the first and last (excluded) of `count` windows whose tap lies inside an image of `size`."""
    start, s = axis.padding - tap * axis.dilation, axis.stride
    return max(0, (start + s - 1) // s), min(count, (size - 1 + start) // s + 1)


@njit(inline="always")
def windows_over(pixel, axis, count):
    """Return the first and last (excluded) of `count` windows without dilation that a pixel lies in."""
    place, s = pixel + axis.padding, axis.stride
    return max(0, (place - axis.kernel_size) // s + 1), min(count, place // s + 1)


@njit(inline="always")
def taps_over(place, stride, dilation, steps, taps, count):
    """Return (a, b, first, last): the taps that cover a pixel are a + k * steps[0] of windows b - k * steps[1].

    k runs from `first` to `last` (excluded).

    place: the position of the pixel in the padded image.
    stride, dilation: those of the windows, compile-time constants.
    steps: the result of the function `steps` for these, compile-time constants, because divisions by numbers known only
        at run time made the loops around this function three times slower.
    taps, count: the numbers of taps and of windows.
    """
    tap = 0
    for k in range(1, steps[0]):
        if (place - k * dilation) % stride == 0:
            tap = k
    window = (place - tap * dilation) // stride
    first = max(0, (window - count + steps[1]) // steps[1])
    last = min((taps - 1 - tap) // steps[0], window // steps[1]) + 1
    return tap, window, first, last if window * stride + tap * dilation == place else 0
