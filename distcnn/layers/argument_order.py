"""Numbers in PyTorch's order, which begins with the size of the input: they would mean something else here.

Layers infer the size of their input, so that PyTorch's Conv2d(1, 6, 5) would become one filter of 6 x 6 with a stride
of 5. Layers with this trap refuse such numbers. They never refuse an argument that is given by name.
"""

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Any, TypeVar

from distcnn.errors import NetError
from distcnn.layers.base import Layer
from distcnn.layers.checks import is_whole

Kind = TypeVar("Kind", bound=type[Layer])

LARGE_KERNEL, LARGE_STRIDE = (
    11,
    4,
)  # those of AlexNet; no usual network has larger ones, unless they are equal
USUAL_KERNEL, USUAL_STRIDE = (
    7,
    2,
)  # in a network whose layers have as many filters as their input has channels


def remember_positions(kind: Kind) -> Kind:
    """Return a class of layers that keeps the arguments given by position as `by_position`.

    It is used as a decorator above that of the dataclass.
    """
    make: Callable[..., None] = kind.__init__

    @wraps(make)
    def remember(self: Layer, *given: Any, **named: Any) -> None:
        object.__setattr__(self, "by_position", given)
        make(self, *given, **named)

    kind.__init__ = remember  # type: ignore[assignment, method-assign]
    return kind


def refuse_as_pytorch(layer: Layer, inferred: str, remedy: str) -> None:
    """Raise NetError, which says that the numbers given by position look like PyTorch's order.

    inferred: what PyTorch's order begins with.
    remedy: what to write in place of the numbers.
    """
    numbers = ", ".join(map(repr, layer.by_position))
    found = f"{type(layer).__name__}: {numbers} looks like PyTorch's order, but {inferred} are inferred"
    raise NetError(f"{found}: write {remedy}")


def check_filter_order(layer: Layer, channels: int) -> None:
    """Raise NetError if a layer of filters was probably given (in_channels, out_channels, kernel_size, ...).

    layer: has the arguments out_channels, kernel_size and stride, in this order.
    channels: the number of channels of the layer's input.
    """
    given = layer.by_position
    if len(given) < 3 or not is_whole(given[1], 1):
        return
    stride = max(given[2]) if isinstance(given[2], tuple | list) else given[2]
    theirs = _without_first(layer) if _is_probably_pytorch(given[0], given[1], stride, channels) else None
    if theirs:
        refuse_as_pytorch(layer, "the channels of the input", f"{theirs}, or {layer} if you mean that")


def _is_probably_pytorch(first: int, second: int, third: int, channels: int) -> bool:
    """Return whether three numbers are rather (in, out, kernel_size) than (out, kernel_size, stride)."""
    if first == channels:
        return second > USUAL_KERNEL or third > USUAL_STRIDE
    return second != third and (second > LARGE_KERNEL or third > LARGE_STRIDE)


def _without_first(layer: Layer) -> Layer | None:
    """Return the layer that the arguments make without the first of them; None if they make none."""
    others = list(signature(type(layer)).parameters)[len(layer.by_position) :]
    try:
        return type(layer)(*layer.by_position[1:], **{name: getattr(layer, name) for name in others})
    except NetError:
        return None
