"""The arguments of a call from Python as the Request that the command line would make of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from distcnn.config.hints import option_hint
from distcnn.config.old_names import modernized
from distcnn.config.settings import SETTINGS, Config, Request, option, validated
from distcnn.errors import ConfigError
from distcnn.job.job import LayersOf
from distcnn.job.wording import LAYERS
from distcnn.models.catalog import MODELS


def request_of(given: Mapping[str, Any]) -> Request:
    """Return the Request that settings by name make; those that are None are not given.

    Raises ConfigError for an unknown setting and an invalid value.
    """
    plain = {key: _plain(value) for key, value in given.items() if value is not None}
    known = modernized(plain, "the settings")
    for key in known:
        if key not in SETTINGS:
            raise ConfigError(f"unknown setting {key!r}{option_hint(key, map(option, SETTINGS))}")
    return Request(Config(**{key: validated(key, known[key], key) for key in known}), frozenset(known))


def _plain(value: Any) -> Any:
    """Return NumPy's numbers and paths as Python's numbers and texts, and anything else as it is."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def maker_of(model: Any) -> LayersOf | None:
    """Return the function that makes the layers of a model, or None if it is a word as for --model.

    Modules of PyTorch can be called, but make no layers: they are returned as they are, and refused with the reason.
    """
    if isinstance(model, str | os.PathLike):
        return None
    is_function = callable(model) and not hasattr(model, "state_dict")
    return model if is_function else lambda input_shape, outputs: model


def word_of(model: Any) -> str:
    """Return the word that names a model in the settings: for a function its name, unless a model has that."""
    if isinstance(model, str | os.PathLike):
        return os.fspath(model)
    name = getattr(model, "__name__", LAYERS)
    return name if name.isidentifier() and name not in MODELS else LAYERS
