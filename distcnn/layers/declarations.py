"""The types of what a layer declares before a plan is made: parameters, arrays, fusion with neighbors, memory use."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from distcnn.kernels.jit import Kernel

Shape = tuple[int, ...]
Call = tuple[Kernel, tuple[Any, ...]]  # a kernel and its arguments

RELU = "relu"  # the kind of a layer that computes max(x, 0)
NORM = "norm"  # the kind of a layer that in inference scales and shifts each channel, see `Layer.fold`


class Parameter(NamedTuple):
    """A parameter or a running statistic.

    shape: the shape of the array.
    fan_in: how many inputs are summed for each output; it determines the variance of the random initial values. 0 for a
        constant initial value.
    start: the initial value if fan_in is 0.
    """

    shape: Shape
    fan_in: float = 0
    start: float = 0.0


class Array(NamedTuple):
    """An array that the plan must allocate for a layer.

    shape: the shape of the array.
    dtype: the type of its numbers.
    spread: whether the stride of the first axis must be an odd number of cache lines, see `values.planes`.
    """

    shape: Shape
    dtype: str = "float32"
    spread: bool = False


@dataclass(frozen=True)
class Fusion:
    """Which work of neighboring layers the kernels of a layer can also do, and what its own work is called.

    A kind is a name that both layers of a fused pair use: RELU, NORM, or any other text.

    kind: the name of the work of this layer; None if no neighbor can do it. Where the previous layer does the forward
        pass, x and y are the same array; so the backward pass of a layer with a kind must not read x, only y.
    forward: the kinds of a next layer that the forward kernels can apply to y before they store it.
    backward: the kinds of a previous layer whose derivative the backward kernels can apply to dx.
    weights: the kinds of a next layer that inference can multiply into `weight` and `bias`. The first axis of `weight`
        must be the channels of y.
    """

    kind: str | None = None
    forward: tuple[str, ...] = ()
    backward: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()


@dataclass(frozen=True)
class MemoryUse:
    """Which arrays of a layer are the same array.

    y_is_x: whether y is the same array as x, which the forward pass changes in place or not at all.
    dx_is_dy: whether dx is the same array as dy, which the backward pass changes in place or not at all.
    reads_y: whether the backward pass reads y. If not, a gradient may be written over y.
    """

    y_is_x: bool = False
    dx_is_dy: bool = False
    reads_y: bool = True
