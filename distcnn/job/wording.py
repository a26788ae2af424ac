"""Messages in the words of the caller: what they say of options becomes what a user of Python would type.

All messages name options, as in "say --task regress", wherever in the package they are made. The functions that a
user's program calls pass them through `worded`, which knows the options and their values from the table of settings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from distcnn.config.settings import SETTINGS, kind
from distcnn.config.types import AUTO, Choice, Flag, Layout
from distcnn.models.catalog import MODELS

# How a caller writes a setting, by its name, with one of some values, or without a value.
Wording = Callable[[str, Sequence[str]], str]

OPTION = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*)(?![\w-])")
VALUE = re.compile(r"[ =]('[^']*'|[^\s;()]*[^\s;,():?.])")
FURTHER = re.compile(r"(?:, or |, | or )([a-z0-9-]+)")  # another value that may be chosen
COMMAND = re.compile(r"(python -m distcnn\.\w+ [^;]*)")  # is typed as it is
LAYERS = "layers"  # the name of a network without a name
OF_EVALUATE = ("split",)  # options that training does not have
WITHOUT_VALUE = {"validation_images": "validation", "test_images": "test"}  # arguments that give a split, too


def worded(message: str, say: Wording) -> str:
    """Return a message in which all options of training are written as a caller writes them."""
    pieces = COMMAND.split(message)
    return "".join(piece if k % 2 else _translated(piece, say) for k, piece in enumerate(pieces))


def as_keyword(name: str, values: Sequence[str]) -> str:
    """Return a setting as an argument of `distcnn.fit`: task='regress', validation=."""
    if name == "model" and [*values] == [repr(LAYERS)]:
        return "this model"
    return f"{name if values else WITHOUT_VALUE.get(name, name)}={' or '.join(values)}"


def of_a_net(name: str, values: Sequence[str]) -> str:
    """Return a setting as the methods of a Net take it, or as the net itself does when it is made."""
    if name == "data" and not values:
        return "x"
    if name not in ("task", "conv", "norm_group"):
        return as_keyword(name, values)
    return f"Net(..., {as_keyword(name, [each for each in values if each != repr(AUTO)])})"


def _translated(message: str, say: Wording) -> str:
    """Return a message, or a part of one without commands, with all options as a caller writes them."""
    found, done = "", 0
    for option in OPTION.finditer(message):
        name = option[1].replace("-", "_")
        if name not in {*SETTINGS, *OF_EVALUATE} or option.start() < done:
            continue
        values, end = _values(name, message, option.end()) if name in SETTINGS else ([], option.end())
        is_asked = not values and message[end : end + 1] == "?"  # "did you mean ...?"
        found += message[done : option.start()] + (name if is_asked else say(name, values))
        done = end
    return found + message[done:]


def _values(name: str, message: str, start: int) -> tuple[list[str], int]:
    """Return the values of a setting, as Python writes them, that begin at a place of a message; and where they end."""
    if isinstance(kind(name), Flag):
        return ["True"], start
    first = VALUE.match(message, start)
    value = _value(name, first[1], message[first.end() : first.end() + 1]) if first else None
    if first is None or value is None:
        return [], start
    values, end = [value], first.end()
    while isinstance(kind(name), Choice) and (further := FURTHER.match(message, end)):
        value = _value(name, further[1])
        if value is None:
            break
        values.append(value)
        end = further.end()
    return values, end


def _value(name: str, word: str, after: str = "") -> str | None:
    """Return a word of a message as Python writes it if it is a value of a setting, or stands for one; else None.

    after: the letter that follows it.
    """
    of, text = kind(name), word.strip("'")
    is_model = name == "model" and after in (",", ":")  # whose name may be any word
    if word.isalpha() and word.islower() and not is_model and word not in _words(name):
        return None  # it belongs to the sentence
    value = of.validate(of.parse(text))
    if value is None:
        return repr(text) if isinstance(of, Layout) and "N" in text else None  # NHW:HxW stands for a layout
    if isinstance(value, int | float):
        return text
    return repr(list(value) if isinstance(value, tuple) else value)


def _words(name: str) -> list[str]:
    """Return the words of small letters that are values of a setting."""
    return [*MODELS, LAYERS] if name == "model" else kind(name).placeholder.split("|")
