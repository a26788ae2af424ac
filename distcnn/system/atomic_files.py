"""Files that appear whole or not at all, so that a run killed at any moment leaves nothing half written."""

import os
from contextlib import contextmanager, suppress
from pathlib import Path

from distcnn.errors import OutputError


def write_whole(path, *pieces):
    """Write pieces of bytes to a file that appears whole, as `appearing` does."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        for piece in pieces:
            file.write(piece)


@contextmanager
def atomic_path(path):
    """Yield a temporary name in the same folder for what is to be written; then flush it to disk, and rename.

    Raises OutputError, and leaves what was there before, when anything fails.
    """
    path = Path(path)
    if not path.name:
        raise OutputError(f"{str(path)!r}: is no name for a file; name one")
    temporary = path.with_name(f"{temporary_prefix(path.name)}{os.getpid()}.tmp")
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written: {error.strerror or error}; make room or choose another folder"
        ) from None
    finally:
        with suppress(OSError):
            temporary.unlink()
    _sync(path.parent)


def _flush(path):
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def temporary_prefix(name):
    """Return how the temporary names for a file begin: hidden, and unlike every name that is looked for."""
    return f".{name}."


def _sync(folder):
    """Flush a folder's names to disk; where a file system cannot, the rename stands as it is."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
