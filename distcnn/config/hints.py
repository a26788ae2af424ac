"""Hints at the end of error messages on unknown names: "did you mean ...?", or why there is no such option."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

from distcnn.config.foreign_names import ADVICE, OTHER_MODELS, OTHER_VALUES, OWN_MODEL, SAME
from distcnn.config.old_names import american
from distcnn.config.types import Choice, Type

OWN_NET = re.compile(r"[:/\\]")  # a path, or a module and a name in it
SIMILAR = 0.76  # least ratio of difflib; a smaller one matches unrelated short names


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return ", did you mean ...?" if one of the known words is similar to this word, otherwise an empty string."""
    found = _nearest(word, list(known))
    return f", did you mean {found}?" if found else ""


def option_hint(option: str, known: Iterable[str]) -> str:
    """Return the hint for a message on an unknown option, or an empty string.

    option: as typed, such as "--lr".
    known: the options of the command, such as "--learning-rate".
    """
    names = {each.lstrip("-"): each for each in known if each.startswith("-")}
    name = american(option.lstrip("-").replace("_", "-").lower())
    if SAME.get(name) in names:
        return f", did you mean {names[SAME[name]]}?"
    advice = ADVICE.get(name, "")
    if advice and all(each in names for each in re.findall("--([a-z0-9-]+)", advice)):
        return f"; {advice}"
    found = _nearest(name, list(names))
    return f", did you mean {names[found]}?" if found else ""


def key_hint(key: str, known: Iterable[str]) -> str:
    """Return the hint for a message on an unknown key of a configuration file, or an empty string."""
    hint = option_hint(key, ["--" + each.replace("_", "-") for each in known])
    return re.sub("--([a-z0-9-]+)", lambda found: found[1].replace("-", "_"), hint)


def value_hint(name: str, value: Any, kind: Type) -> str:
    """Return the hint for a message on an invalid value of a setting, or an empty string.

    name: of the setting.
    value: as it was given.
    kind: the type of the setting.
    """
    if not isinstance(value, str):
        return ""
    other = OTHER_VALUES.get(name, {}).get(value.lower().replace("_", "-"))
    near = other or (_nearest(value, list(kind.words)) if isinstance(kind, Choice) else None)
    return f"; did you mean {near}?" if near else ""


def model_hint(name: str, known: Iterable[str]) -> str:
    """Return the hint for a message on an unknown model: a similar name, or why there is no such model.

    name: as typed, perhaps a file of the user's, such as "net.py" or "net:make".
    known: the names of all models.
    """
    known = list(known)
    if OWN_NET.search(name):
        return f"; {OWN_MODEL}"
    pattern = next((each for each in OTHER_MODELS if re.fullmatch(each, name.lower())), None)
    if pattern:
        return f"; {OTHER_MODELS[pattern]}"
    return suggestion(name, known) or f"; wanted one of: {', '.join(known)}"


def _nearest(word: str, known: list[str]) -> str | None:
    """Return the only known word that begins with this word and a dash, else a similar known word, else None."""
    plain = {each.replace("_", "-").lower(): each for each in known}
    word = word.replace("_", "-").lower()
    begun = [each for each in plain if each.startswith(f"{word}-")]
    near = begun if len(begun) == 1 else difflib.get_close_matches(word, plain, n=1, cutoff=SIMILAR)
    return plain[near[0]] if near else None
