"""What a pass over a file has found, kept for the next run in the user's cache folder.

A note belongs to a state of the file: its inode, size and times. A note that is lost, damaged or cannot be written
costs another pass over the file and nothing else.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from distcnn.system import cache_dir, checked_file
from distcnn.system.terminal_text import warn

FOLDER = "surveyed-files"
FORMAT = 1  # of the notes
YOUNG = 2  # seconds: a file that was changed more recently may change again without a new time stamp
LARGEST = 2**26  # bytes of a note; a larger one would fill the folder


def key_of(paths: Iterable[Path], *about: object) -> str | None:
    """Return the name of the note on the present state of some files; None if there can be none.

    about: what else the note depends on.
    """
    try:
        states = [os.stat(path) for path in paths]
    except OSError:
        return None
    times = [(state.st_mtime_ns, state.st_ctime_ns) for state in states]
    if time.time() - max(map(max, times)) * 1e-9 < YOUNG:
        return None
    files = [(state.st_dev, state.st_ino, state.st_size) for state in states]
    return hashlib.sha256(repr((FORMAT, files, times, about)).encode()).hexdigest()


def read(key: str | None) -> bytes | None:
    """Return the content of a note, or None if there is none."""
    folder = cache_dir.folder(FOLDER) if key else None
    if folder is None or key is None:
        return None
    try:
        return checked_file.read(folder / key)
    except (OSError, ValueError) as error:
        warn(f"{folder}: a note on a file cannot be read ({error}): the file is read as if it were new")
        with suppress(OSError):
            (folder / key).unlink()
    return None


def write(key: str | None, content: bytes) -> None:
    """Keep a note, if possible."""
    folder = cache_dir.folder(FOLDER) if key and len(content) <= LARGEST else None
    if folder is None or key is None:
        return
    try:
        checked_file.write(folder / key, content)
    except OSError as error:
        warn(f"{folder}: cannot be written ({error.strerror}): the next run reads the whole file again")
