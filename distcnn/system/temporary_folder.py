"""Temporary folders of which none is left for long: each names its process, and the next one finds it dead."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from distcnn.system.processes import Process, is_alive, parse, this_process
from distcnn.system.regular_files import read_regular

PREFIX = "distcnn-"
NAME = re.compile(re.escape(PREFIX) + "[a-z0-9_]{8}")
OWNER = "owner.json"  # the process that has made the folder
LIMIT = 1 << 12  # bytes of that file


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder that is private to this user, removed after the block; remove those of processes that were killed.

    Raises OSError if it cannot be made.
    """
    _remove_leftovers(Path(tempfile.gettempdir()))
    with _removed(Path(tempfile.mkdtemp(prefix=PREFIX))) as folder:
        yield folder


@contextmanager
def same_folder(path: str) -> Iterator[Path]:
    """Make the folder that `temporary_folder` has made on another node on this one, removed after the block.

    Raises OSError if it cannot be made, such as one that exists.
    """
    _remove_leftovers(Path(path).parent)
    os.makedirs(path, mode=0o700)
    with _removed(Path(path)) as folder:
        yield folder


@contextmanager
def _removed(folder: Path) -> Iterator[Path]:
    """Write into a folder which process has made it, and remove the folder after the block."""
    try:
        (folder / OWNER).write_text(json.dumps(this_process()._asdict()))
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_leftovers(base: Path) -> None:
    """Remove this user's folders whose processes are known to be dead."""
    for folder in base.glob(f"{PREFIX}*"):
        with suppress(OSError):
            status = folder.lstat()
            ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
            if ours and NAME.fullmatch(folder.name) and _is_dead(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_dead(folder: Path) -> bool:
    """Return whether a folder names its process, and this has ended."""
    try:
        owner: Process = parse(json.loads(read_regular(folder / OWNER, LIMIT)))
    except (OSError, ValueError, TypeError, KeyError):
        return False
    return is_alive(owner) is False
