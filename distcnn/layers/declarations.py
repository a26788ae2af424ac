"""What a layer declares of itself before any plan is made: parameters, arrays, and what is shared with neighbors."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from distcnn.kernels.jit import Kernel

Shape = tuple[int, ...]
Call = tuple[Kernel, tuple[Any, ...]]  # a kernel and its arguments

RELU = "relu"  # the kind of a layer that computes max(x, 0)
NORM = "norm"  # the kind of a layer that in inference scales and shifts each channel, see `Layer.fold`


class Parameter(NamedTuple):
    """A parameter or a running statistic.

    shape: of the array.
    fan_in: how many inputs each output sums, from which the random start follows; 0 for a fixed start.
    start: the value that training starts with if fan_in is 0.
    """

    shape: Shape
    fan_in: float = 0
    start: float = 0.0


class Array(NamedTuple):
    """An array that a layer asks the plan for.

    shape: of the array.
    dtype: of the array.
    spread: whether the first axis advances by an odd number of cache lines, see `values.planes`.
    """

    shape: Shape
    dtype: str = "float32"
    spread: bool = False


@dataclass(frozen=True)
class Fusion:
    """What a layer is to its neighbors, and whose work its kernels can do together with their own.

    A kind is a word on which two classes of layers agree: RELU, NORM, or any other word.

    kind: what this layer is; None if no neighbor can do its work. Where the layer before does its forward pass, x and y
        are the same array; so the backward pass of a layer with a kind must read y in place of x.
    forward: kinds of the layer behind this one that the forward kernels apply to y before they store it.
    backward: kinds of the layer before this one whose derivative the backward kernels apply to dx.
    weights: kinds of the layer behind this one that inference multiplies into `weight` and `bias`. The first axis of
        `weight` must be the channels of y.
    """

    kind: str | None = None
    forward: tuple[str, ...] = ()
    backward: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()


@dataclass(frozen=True)
class MemoryUse:
    """Which arrays of a layer are the same array.

    y_is_x: y is x; the forward pass leaves it as it is or changes it in place.
    dx_is_dy: dx is dy; the backward pass leaves it as it is or changes it in place.
    reads_y: whether the backward pass reads y. If not, a gradient may be written over y.
    """

    y_is_x: bool = False
    dx_is_dy: bool = False
    reads_y: bool = True
