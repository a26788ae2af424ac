"""The values that a setting may take: how a command line spells them, what fits, and how to say so."""

import math
import re
from dataclasses import dataclass

from distcnn.config import augment_spec

GLOBAL = "global"
MANY = 2**31 - 1  # no count exceeds it, so that a product of two counts fits into int64
PLAIN = re.compile("[-+.0-9A-Za-z]+")
UNWRITABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")  # control characters and what is not UTF-8


@dataclass(frozen=True)
class Word:
    """Text of one line, such as a name or a path."""

    placeholder: str
    wanted: str

    def parse(self, word):
        """Return the value that a word on the command line stands for."""
        return word

    def validate(self, value):
        """Return the value as this domain's type, or None where it does not fit."""
        return value if isinstance(value, str) and value and not UNWRITABLE.search(value) else None


@dataclass(frozen=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def placeholder(self):
        return "|".join(self.words)

    @property
    def wanted(self):
        return " or ".join(self.words)

    def parse(self, word):
        return word

    def validate(self, value):
        return value if value in self.words else None


@dataclass(frozen=True)
class Augmentations:
    """Distortions of training images, in the one text that asks for them."""

    placeholder = "LIST"
    wanted = f"some of {augment_spec.FORMS}, or {augment_spec.NONE}"

    def parse(self, word):
        return word

    def validate(self, value):
        """Return the text in its usual order. Raises ValueError, whose text is for the user, where it does not fit."""
        return augment_spec.written(augment_spec.read(value)) if isinstance(value, str) else None


@dataclass(frozen=True)
class Whole:
    """A whole number, both ends included."""

    low: int
    high: int = MANY
    placeholder = "N"

    @property
    def wanted(self):
        return f"a whole number from {self.low}" + ("" if self.high == MANY else f" to {self.high}")

    def parse(self, word):
        return _number(int, word)

    def validate(self, value):
        return value if type(value) is int and self.low <= value <= self.high else None


@dataclass(frozen=True)
class Blocks:
    """A whole number of blocks, or `GLOBAL` for those of the whole batch."""

    placeholder = f"N|{GLOBAL}"
    wanted = f"a whole number from 1, or {GLOBAL}"

    def parse(self, word):
        return _number(int, word)

    def validate(self, value):
        return value if value == GLOBAL else Whole(1).validate(value)


@dataclass(frozen=True)
class Real:
    """A finite number, the upper end excluded."""

    low: float
    below: float = math.inf
    placeholder = "X"

    @property
    def wanted(self):
        return f"a number from {self.low:g}" + ("" if self.below == math.inf else f", below {self.below:g}")

    def parse(self, word):
        return _number(float, word)

    def validate(self, value):
        within = type(value) in (int, float) and self.low <= value < self.below
        return float(value) if within and value < 2**1023 else None


@dataclass(frozen=True)
class Wholes:
    """Whole numbers from 1 that grow: in words with commas between them, in a file a list."""

    placeholder = "N,N,..."
    wanted = "whole numbers from 1, each above the one before"

    def parse(self, word):
        return [_number(int, part) for part in word.split(",")]

    def validate(self, value):
        one = Whole(1)
        listed = isinstance(value, (list, tuple)) and all(one.validate(each) is not None for each in value)
        return tuple(value) if listed and value and list(value) == sorted(set(value)) else None


def _number(kind, word):
    """Return the number, or the word itself where it spells none, for `fitting` to refuse.

    Python reads 1_0 as 10, and digits of all scripts; who types that has mistyped.
    """
    try:
        return kind(word) if PLAIN.fullmatch(word) else word
    except ValueError:
        return word
