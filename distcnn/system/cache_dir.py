"""Folders for caches: files that the next run may use, and that may be lost at any time."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def folder(name: str) -> Path | None:
    """Return a folder of this name that this user can write to and owns, made if need be; None if there can be none.

    It is in ~/.cache/distcnn, which NUMBA_CACHE_DIR and XDG_CACHE_HOME move, or else where temporary files are.
    """
    for place in _places():
        path = place / name
        with suppress(OSError):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            if path.stat().st_uid == os.getuid() and os.access(path, os.W_OK):
                return path
    return None


def _places() -> Iterator[Path]:
    """Yield the folders in which ours may lie, best first."""
    base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME")
    with suppress(RuntimeError):  # no home: neither HOME nor an entry for this user
        yield Path(base or Path.home() / ".cache") / "distcnn"
    with suppress(OSError):  # no folder for temporary files
        yield Path(tempfile.gettempdir()) / f"distcnn-{os.getuid()}"
