"""The files of a report: report.json, and pictures that are drawn from it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from distcnn.errors import OutputError
from distcnn.reports.kinds import KINDS
from distcnn.system import atomic_files
from distcnn.system.atomic_files import remove_temporaries, write_whole
from distcnn.system.counts import counted
from distcnn.system.terminal_text import printable

JSON = "report.json"
FILES = (JSON, *sorted({name for kind in KINDS.values() for name in kind.pictures}))  # of any report

Record = dict[str, Any]


def names_of(record: Record) -> list[str]:
    """Return the names of the files of a report."""
    return [JSON, *KINDS[record["task"]].pictures]


def write(folder: Path, record: Record) -> None:
    """Write a report as JSON, atomically; raise OutputError if that fails.

    The folder is made if it does not exist; only this process may write reports there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_temporaries(folder, FILES)
    except OSError as error:
        raise _unwritable(folder, error.strerror) from None
    write_whole(folder / JSON, json.dumps(record, allow_nan=False).encode() + b"\n")


def require_free(folder: Path, force: bool) -> None:
    """Raise OutputError unless a report may be written to a folder; force: whether its files may be replaced."""
    place = next(each for each in (folder, *folder.absolute().parents) if os.path.lexists(each))
    if not os.path.isdir(place):
        raise _unwritable(folder, f"{place} is not a folder")
    if not os.access(place, os.W_OK):
        raise _unwritable(folder, f"{place} may not be written to")
    for name in FILES:
        atomic_files.require_free(folder / name, force)


def _unwritable(folder: Path, reason: str | None) -> OutputError:
    """Return the exception for a folder that cannot be written."""
    return OutputError(f"{folder}: no report can be written there: {reason}; choose another folder")


def redraw(folder: Path, images: np.ndarray) -> None:
    """Draw the pictures of the report that a folder holds; see `draw`."""
    draw(folder, json.loads((folder / JSON).read_bytes()), images)


def draw(folder: Path, record: Record, images: np.ndarray) -> None:
    """Draw the pictures of a report, each written atomically; raise OutputError if that fails.

    images: those of the worst mistakes, [n, c, h, w].
    """
    title = printable(f"{counted(record['samples'], record['split'] + ' image')} of {record['data']}")
    for name, picture in KINDS[record["task"]].pictures.items():
        write_whole(folder / name, picture(record, images, title))
