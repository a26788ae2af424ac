"""List the files of a folder, also those behind links to other folders, which are followed without going in circles."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from distcnn.errors import DataError

DEPTH = 64  # folders in folders
VISITS = 64  # times that one folder may be reached, by different links

Identity = tuple[int, int]  # device and inode


def walk(source: Path) -> Iterator[str]:
    """Yield the names of all files in a folder, with slashes between folders, in the order of their names.

    A link to a folder that it lies in is not followed.

    Raises DataError if links lead to a folder again and again, and OSError if a folder cannot be read.
    """
    yield from _files(source, "", (), Counter())


def _files(
    folder: Path, prefix: str, around: tuple[Identity, ...], visits: Counter[Identity]
) -> Iterator[str]:
    """Yield the names of files in a folder.

    prefix: what their names begin with
    around: the folders that this one lies in
    visits: how often each folder was reached
    """
    status = os.stat(folder)
    here = status.st_dev, status.st_ino
    visits[here] += 1
    if here in around:
        return
    if len(around) == DEPTH or visits[here] > VISITS:
        raise DataError(
            f"{folder} is reached by too many links or folders in folders: import a folder inside it"
        )
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    folders = [entry.name for entry in entries if _is_folder(entry)]
    inside = set(folders)
    yield from (prefix + entry.name for entry in entries if entry.name not in inside)
    for name in folders:
        yield from _files(folder / name, f"{prefix}{name}/", (*around, here), visits)


def _is_folder(entry: os.DirEntry) -> bool:
    """Return whether an entry is a folder or a link to one; a link to nothing or to itself is not."""
    try:
        return entry.is_dir()
    except OSError:
        return False
