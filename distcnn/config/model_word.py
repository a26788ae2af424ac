"""The word that names a network: NAME, FILE.txt, FILE.py:FUNCTION or MODULE:FUNCTION."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")  # the name of a function or of a module


class ModelWord(NamedTuple):
    """A word for `--model`, taken apart.

    source: the name of a model, the path of a file, or the name of a module.
    function: the name of the function in a user's file or module; "" if the word names none.
    """

    source: str
    function: str = ""

    @property
    def is_file(self) -> bool:
        """Whether the source is a file of the user's."""
        return self.source.endswith((".txt", ".py"))

    @property
    def title(self) -> str:
        """The name of the network for people and for folders."""
        stem = os.path.basename(self.source).rpartition(".")[0] if self.is_file else self.source
        return self.function.rpartition(".")[2] or stem

    @property
    def absolute(self) -> str:
        """The same word, with the absolute path of the file, so that it is valid in any working folder."""
        source = os.path.abspath(self.source) if self.is_file else self.source
        return f"{source}:{self.function}" if self.function else source


def parse(word: str) -> ModelWord:
    """Return a word for `--model`, taken apart; whether what it names exists is not looked at."""
    source, colon, function = word.rpartition(":")
    if colon and DOTTED.fullmatch(function) and (source.endswith(".py") or DOTTED.fullmatch(source)):
        return ModelWord(source, function)
    return ModelWord(word)
