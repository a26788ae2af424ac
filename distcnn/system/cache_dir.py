"""Folders for what is kept from one call to the next and may be lost at any time."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def folder(name: str) -> Path | None:
    """Return a folder of this name that only this user can write, or None if there can be none.

    It is in ~/.cache/distcnn, which NUMBA_CACHE_DIR and XDG_CACHE_HOME move, or else where temporary files are.
    """
    base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    for place in (Path(base) / "distcnn", Path(tempfile.gettempdir()) / f"distcnn-{os.getuid()}"):
        path = place / name
        with suppress(OSError):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            if path.stat().st_uid == os.getuid() and os.access(path, os.W_OK):
                return path
    return None
