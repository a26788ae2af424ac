"""Atomic writing of files, so that a run that is killed at any moment leaves no partly written file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from distcnn.errors import OutputError


def write_whole(path: str | os.PathLike, *pieces: bytes | memoryview) -> None:
    """Write pieces of bytes to a file atomically; raise OutputError if that fails."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        for piece in pieces:
            file.write(piece)


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield the path of a temporary file in the same folder; after the block flush it to disk and rename it to `path`.

    Raises OutputError if this fails; an existing file at `path` then stays as it was.
    """
    path = Path(path)
    if not path.name:
        raise OutputError(f"{str(path)!r}: not the name of a file; name one")
    temporary = path.with_name(f"{temporary_prefix(path.name)}{os.getpid()}.tmp")
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
    except OSError as error:
        # Not error.strerror, into which h5py writes internals of HDF5.
        reason = os.strerror(error.errno) if error.errno else error
        message = f"{path}: cannot be written: {reason}; make room or choose another folder"
        raise OutputError(message) from None
    finally:
        with suppress(OSError):
            temporary.unlink()
    _sync(path.parent)


def temporary_prefix(name: str) -> str:
    """Return the prefix of the names of temporary files for a file; it begins with a dot, unlike the names of runs."""
    return f".{name}."


def _flush(path: Path) -> None:
    """Flush a file's content to disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Flush a folder's list of names to disk, if the file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
