"""The types of two settings of fine-tuning: the weights of classes, and the parameters that are frozen."""

from __future__ import annotations

import re
from typing import Any

from distcnn.config.types import PLAIN, Real, Whole

BALANCED = "balanced"
PARAMETERS = re.compile(r"[\w.*?]+")  # the name of a parameter, or a pattern of names


class ClassWeights:
    """`BALANCED`, or a weight for each class: separated by commas on a command line, a list in a file."""

    placeholder = f"{BALANCED}|W,W,..."
    wanted = f"{BALANCED}, or a number from 0 for each class, not all 0"

    def parse(self, word: str) -> Any:
        parts = word.split(",")
        return [float(part) for part in parts] if all(map(_is_number, parts)) else word

    def validate(self, value: Any) -> str | tuple[float, ...] | None:
        if value == BALANCED:
            return BALANCED
        if not isinstance(value, list | tuple) or any(Real(0.0).validate(each) is None for each in value):
            return None
        return tuple(map(float, value)) if any(value) else None


class FrozenParameters:
    """The number of the first layers, or names of parameters, separated by commas on a command line, a list in a file.

    In a name, * stands for any letters and ? for one.
    """

    placeholder = "N|NAME,NAME,..."
    wanted = "how many of the first layers, from 1, or names of parameters such as 0.weight or 4.*"

    def parse(self, word: str) -> Any:
        return int(word) if word.isascii() and word.isdigit() else word.split(",")

    def validate(self, value: Any) -> int | tuple[str, ...] | None:
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, list | tuple):
            return Whole(1).validate(value)
        valid = [isinstance(each, str) and PARAMETERS.fullmatch(each) for each in value]
        return tuple(value) if valid and all(valid) else None


def _is_number(word: str) -> bool:
    """Return whether a word is a number as `Real` reads it."""
    try:
        return PLAIN.fullmatch(word) is not None and float(word) == float(word)
    except ValueError:
        return False
