"""Checks of the arguments and the inputs of layers; each raises NetError with a one-line message."""

import math
import operator
from typing import Any

import numpy as np

from distcnn.errors import NetError
from distcnn.layers.declarations import Shape

MOST = 2**31 - 1  # the largest size or count, so that a product of two fits into 64 bits


def check_image(layer: Any, shape: Shape) -> Shape:
    """Return `shape`, the shape of a layer's input; raise NetError unless it is that of an image, (c, h, w)."""
    if len(shape) != 3:
        raise NetError(f"{layer} wants images (c, h, w), but its input has shape {shape}")
    return shape


def is_whole(value: Any, least: int) -> bool:
    """Return whether a value is a whole number from `least` to MOST."""
    if not hasattr(type(value), "__index__") or isinstance(value, bool):
        return False
    return least <= operator.index(value) <= MOST


def check_whole(layer: Any, least: int, **arguments: Any) -> None:
    """Raise NetError unless each argument is a whole number from `least` on."""
    for name, value in arguments.items():
        if not is_whole(value, least):
            wanted = f"wanted a whole number from {least} on, below 2**31"
            raise NetError(f"{type(layer).__name__}: {name} is {value!r}; {wanted}")


def check_yes_or_no(layer: Any, **arguments: Any) -> None:
    """Raise NetError unless each argument is True or False."""
    for name, value in arguments.items():
        if not isinstance(value, bool | np.bool_):
            raise NetError(f"{type(layer).__name__}: {name} is {value!r}; wanted True or False")


def check_positive(layer: Any, **arguments: Any) -> None:
    """Raise NetError unless each argument is a finite number above 0."""
    for name, value in arguments.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise NetError(f"{type(layer).__name__}: {name} is {value!r}; wanted a number above 0")
