"""The types of settings: each parses a word of the command line, validates values, and describes the valid values.

`parse` converts a word of the command line to a value, `validate` checks a value from the command line or from a file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from distcnn.config import augment_spec, axes_spec

GLOBAL = "global"
AUTO, MEMORY, STREAM = MODES = "auto", "memory", "stream"  # where images are while they are used
CLASSIFY, MULTILABEL, REGRESS = (
    "classify",
    "multilabel",
    "regress",
)  # the tasks, which `config.tasks` declares
MAX_COUNT = 2**31 - 1  # the largest count, so that a product of two counts fits into int64
MAX_REAL = 2.0**1023  # above it, a whole number may not convert to a float
PLAIN = re.compile("[-+.0-9A-Za-z]+")
UNWRITABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")  # control characters; surrogates, not in UTF-8


class Type(Protocol):
    """The type of a setting."""

    @property
    def placeholder(self) -> str:
        """The placeholder for the value in help texts."""

    @property
    def wanted(self) -> str:
        """The valid values in words, for messages."""

    def parse(self, word: str) -> Any:
        """Return the value of a word of the command line, or the word itself if it has no value of this type."""

    def validate(self, value: Any) -> Any:
        """Return the value converted to this type, or None if it is not valid.

        Raises ValueError instead if its message is more helpful than `wanted`.
        """


@dataclass(frozen=True)
class Word:
    """Text of one line, such as a name or a path."""

    placeholder: str
    wanted: str

    def parse(self, word: str) -> str:
        return word

    def validate(self, value: Any) -> str | None:
        return value if isinstance(value, str) and value and not UNWRITABLE.search(value) else None


@dataclass(frozen=True)
class Words:
    """One text of one line or several, such as paths: one as a str, several as a tuple; a list in a file."""

    placeholder: str
    wanted: str

    def parse(self, word: Any) -> Any:
        return word

    def validate(self, value: Any) -> str | tuple[str, ...] | None:
        words = [value] if isinstance(value, str) else list(value) if isinstance(value, list | tuple) else []
        one = Word(self.placeholder, self.wanted)
        if not words or any(one.validate(each) is None for each in words):
            return None
        return words[0] if len(words) == 1 else tuple(words)


@dataclass(frozen=True)
class Flag:
    """Whether something is done: an option without a value, true or false in a file."""

    placeholder = ""
    wanted = "true or false"

    def parse(self, word: Any) -> Any:
        return word

    def validate(self, value: Any) -> bool | None:
        return value if isinstance(value, bool) else None


@dataclass(frozen=True)
class Layout:
    """The axes of images as they are stored, such as NHWC."""

    placeholder = "AXES"
    wanted = "NCHW, NHWC, NHW or another order of these letters, with sizes for flattened images: NHW:64x64"

    def parse(self, word: str) -> str:
        return word

    def validate(self, value: Any) -> str | None:
        """Return the text in its usual form, or None if it is not valid."""
        return axes_spec.written(value) if isinstance(value, str) else None


@dataclass(frozen=True)
class Choice:
    """One of several words.

    source: the words, or a function that returns them, if they take long to import.
    """

    source: tuple[str, ...] | Callable[[], tuple[str, ...]]

    @property
    def words(self) -> tuple[str, ...]:
        """All words that may be chosen."""
        return self.source() if callable(self.source) else self.source

    @property
    def placeholder(self) -> str:
        return "|".join(self.words)

    @property
    def wanted(self) -> str:
        return " or ".join(self.words)

    def parse(self, word: str) -> str:
        return word

    def validate(self, value: Any) -> str | None:
        return value if value in self.words else None


@dataclass(frozen=True)
class Augmentations:
    """Random distortions of training images, such as "shift=2,flip"."""

    placeholder = "LIST"
    wanted = f"some of {augment_spec.FORMS}, or {augment_spec.NONE}"

    def parse(self, word: str) -> str:
        return word

    def validate(self, value: Any) -> str | None:
        """Return the text with its distortions in a fixed order. Raises ValueError if it is not valid."""
        return augment_spec.written(augment_spec.read(value)) if isinstance(value, str) else None


@dataclass(frozen=True)
class Whole:
    """A whole number from `low` to `high`."""

    low: int
    high: int = MAX_COUNT
    placeholder = "N"

    @property
    def wanted(self) -> str:
        return f"a whole number from {self.low}" + ("" if self.high == MAX_COUNT else f" to {self.high}")

    def parse(self, word: str) -> int | str:
        return _number(int, word)

    def validate(self, value: Any) -> int | None:
        return value if type(value) is int and self.low <= value <= self.high else None


@dataclass(frozen=True)
class Blocks:
    """A whole number of blocks, or `GLOBAL` for all blocks of a batch."""

    placeholder = f"N|{GLOBAL}"
    wanted = f"a whole number from 1, or {GLOBAL}"

    def parse(self, word: str) -> int | str:
        return _number(int, word)

    def validate(self, value: Any) -> int | str | None:
        return value if value == GLOBAL else Whole(1).validate(value)


@dataclass(frozen=True)
class Real:
    """A finite number from `low`, less than `below`."""

    low: float
    below: float = math.inf
    placeholder = "X"

    @property
    def wanted(self) -> str:
        return f"a number from {self.low:g}" + ("" if self.below == math.inf else f", below {self.below:g}")

    def parse(self, word: str) -> float | str:
        return _number(float, word)

    def validate(self, value: Any) -> float | None:
        valid = type(value) in (int, float) and self.low <= value < self.below and value < MAX_REAL
        return float(value) if valid else None


@dataclass(frozen=True)
class Wholes:
    """Increasing whole numbers from 1: separated by commas on a command line, a list in a file."""

    placeholder = "N,N,..."
    wanted = "increasing whole numbers from 1"

    def parse(self, word: str) -> list[int | str]:
        return [_number(int, part) for part in word.split(",")]

    def validate(self, value: Any) -> tuple[int, ...] | None:
        one = Whole(1)
        listed = isinstance(value, (list, tuple)) and all(one.validate(each) is not None for each in value)
        return tuple(value) if listed and value and list(value) == sorted(set(value)) else None


def _number(kind: Callable[[str], Any], word: str) -> Any:
    """Return the number in a word, or the word itself, which `validate` then rejects.

    Unlike Python, this accepts neither underscores, as in 1_0, nor digits of other scripts, which are typing errors.
    """
    try:
        return kind(word) if PLAIN.fullmatch(word) else word
    except ValueError:
        return word
