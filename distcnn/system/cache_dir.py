"""Folders for caches, whose files later runs may use and users may delete at any time."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def folder(name: str) -> Path | None:
    """Return a cache folder of this name that this user owns and can write to, or None; make it if it is missing.

    The folder is in distcnn/ under NUMBA_CACHE_DIR, XDG_CACHE_HOME or ~/.cache, or else among the temporary files.
    """
    for place in _places():
        path = place / name
        with suppress(OSError):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            if path.stat().st_uid == os.getuid() and os.access(path, os.W_OK):
                return path
    return None


def _places() -> Iterator[Path]:
    """Yield the possible parent folders, the best first."""
    base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME")
    with suppress(RuntimeError):  # this user has no home folder
        yield Path(base or Path.home() / ".cache") / "distcnn"
    with suppress(OSError):  # no folder for temporary files
        yield Path(tempfile.gettempdir()) / f"distcnn-{os.getuid()}"
