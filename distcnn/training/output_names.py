"""The names of what the outputs of a net stand for: classes, labels or targets."""

from __future__ import annotations

from collections.abc import Sequence

from distcnn.system.counts import counted


def are_numbers(names: Sequence[str] | None) -> bool:
    """Return whether outputs have only their numbers for names, as those of a file that names none."""
    return bool(names) and list(names or ()) == list(map(str, range(len(names or ()))))


def are_others(there: Sequence[str], here: Sequence[str]) -> bool:
    """Return whether both lists name outputs, and not the same; numbers are no names."""
    named = [bool(names) and not all(name.isdigit() for name in names) for names in (there, here)]
    return all(named) and list(there) != list(here)


def listed(names: Sequence[str], output: str) -> str:
    """Return a phrase with the number of outputs and the names of the first three.

    output: what an output stands for, `Task.output`.
    """
    return f"{counted(len(names), output)} ({', '.join(names[:3])}{', ...' if names[3:] else ''})"
