"""The user's own Python files that this process has imported: an error in one of them is the user's mistake."""

from __future__ import annotations

import os
import traceback

from distcnn.errors import ConfigError, DistcnnError

_files: set[str] = set()  # absolute paths


def register(path: str) -> None:
    """Remember that a file is the user's."""
    _files.add(os.path.abspath(path))


def as_user_error(error: BaseException) -> BaseException:
    """Return a ConfigError that names file and line if an error comes from a file of the user's, else the error itself.

    Errors of distcnn itself, such as a layer's about its arguments, are given the place, too, where the user's file
    caused them.
    """
    if (
        not _files
        or isinstance(error, KeyboardInterrupt | GeneratorExit)
        or getattr(error, "is_located", False)
    ):
        return error
    place = _place(error)
    if place is None:
        return error
    kind = "" if isinstance(error, DistcnnError) else f"{type(error).__name__}: "
    located = ConfigError(f"{place}: {kind}{' '.join(str(error).split()) or 'no reason given'}")
    located.is_located = True  # type: ignore[attr-defined]
    return located


def _place(error: BaseException) -> str | None:
    """Return "FILE:LINE" of the last line of the user's files that was running, or None if none was."""
    if isinstance(error, SyntaxError) and error.filename and os.path.abspath(error.filename) in _files:
        return f"{error.filename}:{error.lineno}"
    frames = [each for each in traceback.extract_tb(error.__traceback__) if each.filename in _files]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else None
