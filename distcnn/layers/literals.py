"""The notation of a layer: a call in Python's syntax with literal arguments, such as Conv2D(6, 5, padding=2)."""

from __future__ import annotations

import math
import sys
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distcnn.errors import NetError

SET_BY_NET = "set by Net"  # metadata of a field that is no argument of the layer but a setting of the net
OWN = "distcnn.layers."  # the modules of these layers are not named
USER_CODE = "distcnn_user_code."  # begins the name of a module that was imported from a user's file
INFINITY = {math.inf: "1e999", -math.inf: "-1e999"}  # literals beyond the range of float64
SHORT = 60  # characters of an argument in a message


def call(layer: Any, most: int | None = None) -> str:
    """Return the call that makes a layer: required arguments by position, the others by name where they differ.

    layer: a dataclass; fields with the metadata SET_BY_NET are left out.
    most: an argument of more characters than this is replaced by dots; None for no limit.

    Raises NetError if the layer is no dataclass, or an argument cannot be written as a literal.
    """
    if not is_dataclass(layer):
        raise NetError(
            f"{type(layer).__name__} is no dataclass, so that its arguments are not known: make it one"
        )
    found = [each for each in fields(layer) if each.init and not each.metadata.get(SET_BY_NET)]
    arguments = [_argument(layer, each, most) for each in found]
    return f"{class_name(type(layer))}({', '.join(filter(None, arguments))})"


def class_name(kind: type) -> str:
    """Return the name of a layer's class; that of a user's own class begins with its module, as in net.Swish."""
    if kind.__module__.startswith(OWN):
        return kind.__name__
    return f"{_module_of(kind).removeprefix(USER_CODE)}.{kind.__qualname__}"


def _module_of(kind: type) -> str:
    """Return the name of the module of a class; for that of a program, the name by which others would import it."""
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    return Path(path).stem if kind.__module__ == "__main__" and path else kind.__module__


def _argument(layer: Any, argument: Field, most: int | None) -> str:
    """Return an argument as text, or "" if it has its default value."""
    value = getattr(layer, argument.name)
    text = _literal(value, f"{type(layer).__name__}: {argument.name}")
    if argument.default is not MISSING and text == _literal(argument.default, argument.name):
        return ""
    text = "..." if most is not None and len(text) > most else text
    required = argument.default is MISSING and argument.default_factory is MISSING and not argument.kw_only
    return text if required else f"{argument.name}={text}"


def _literal(value: Any, what: str) -> str:
    """Return a value as a literal of Python; what: the name of the argument, for the message of NetError."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        inside = [_literal(each, what) for each in value]
        return f"({', '.join(inside)}{',' * (len(inside) == 1)})"
    if isinstance(value, float):
        if math.isnan(value):
            raise NetError(f"{what} is NaN, which a network's notation cannot hold; wanted a number")
        return repr(value) if math.isfinite(value) else INFINITY[value]
    if value is None or isinstance(value, bool | int | str):
        return repr(value)
    wanted = "wanted numbers, text, True, False, None, or tuples of them"
    raise NetError(f"{what} is {type(value).__name__}, which a network's notation cannot hold; {wanted}")
