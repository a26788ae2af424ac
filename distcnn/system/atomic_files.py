"""Atomic writing of files, so that a run that is killed at any moment leaves no partly written file.

A temporary file has a name that nobody can guess and is made by its writer: in a folder that others can write to, a
link that lies there already is never followed. It is written through the descriptor that has made it.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from distcnn.errors import DiskFull, OutputError

NO_ROOM = errno.ENOSPC, errno.EDQUOT  # the disk is full, or the quota
FULL = *NO_ROOM, errno.EFBIG  # or the file has the largest size that it may have


def write_whole(path: str | os.PathLike, *pieces: bytes | memoryview) -> None:
    """Write pieces of bytes to a file atomically; raise OutputError if that fails, DiskFull if there is no room."""
    with atomic_file(path) as file:
        for piece in pieces:
            file.write(piece)


@contextmanager
def atomic_file(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Yield a temporary file in the same folder, open to read and write; after the block flush it, rename it to `path`.

    Raises OutputError when anything fails, DiskFull if there is no room, and then leaves what was there before. It
    replaces files and links, but nothing else, such as devices, pipes and folders.
    """
    path = Path(path)
    if not path.name:
        raise OutputError(f"{str(path)!r}: not the name of a file; name one")
    temporary = temporary_path(path)
    try:
        _require_file(path)
        with open(temporary, "x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _require_file(path)
        os.replace(temporary, path)
    except OSError as error:
        raise output_error(path, error) from None
    finally:
        with suppress(OSError):
            temporary.unlink()
    _sync(path.parent)


def output_error(path: str | os.PathLike, error: OSError) -> OutputError:
    """Return the OutputError for a file that cannot be written."""
    # Not error.strerror, into which h5py writes internals of HDF5.
    reason = os.strerror(error.errno) if error.errno else error
    remedy = "make room, or " * (error.errno in (None, *FULL)) + "choose another folder"
    message = f"{path}: cannot be written: {reason}; {remedy}"
    return (DiskFull if error.errno in NO_ROOM else OutputError)(message)


def temporary_path(path: str | os.PathLike) -> Path:
    """Return a new name in a file's folder, to be made exclusively; it begins with a dot, unlike the names of runs."""
    path = Path(path)
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def remove_temporaries(folder: str | os.PathLike, names: Iterable[str]) -> None:
    """Remove the temporary files that killed processes have left of files with these names.

    The caller makes sure that no other process writes these files meanwhile.
    """
    ours = "|".join(map(re.escape, names))
    for each in os.listdir(folder):
        if re.fullmatch(rf"\.({ours})\.[0-9a-f]{{8}}\.tmp", each):
            with suppress(OSError):
                Path(folder, each).unlink()


def require_free(path: str | os.PathLike, force: bool) -> None:
    """Raise OutputError unless a command may write its result to `path`.

    force: a regular file that is there is replaced; a device, a pipe, a folder or a link never is
    """
    if not os.path.lexists(path):
        return
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise OutputError(f"{path}: exists and is not a regular file: choose another name")
    if not force:
        raise OutputError(f"{path} already exists: choose another name, or replace it with --force")


def _require_file(path: Path) -> None:
    """Raise OutputError if what is at `path` is neither a file nor a link."""
    with suppress(FileNotFoundError):
        mode = os.lstat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            raise OutputError(f"{path}: exists and is not a regular file: choose another name")


def _sync(folder: Path) -> None:
    """Flush a folder's list of names to disk, where the file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
