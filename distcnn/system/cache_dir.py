"""Folders for caches: files that the next run may use, and that may be lost at any time.

What lies in a cache can be code, so nobody else may be able to write there. Every folder of distcnn's belongs to this
user, is no link and closed to the writing of others; nobody but this user and root can put another in its place.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from distcnn.system.terminal_text import warn

OTHERS = stat.S_IWGRP | stat.S_IWOTH
LINKS = 40  # that a path may lead through, as in Linux
# The rank on its node, as launchers name it: Open MPI, MPICH and Intel MPI, Slurm.
LOCAL_RANKS = "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"


class Unsafe(Exception):
    """Somebody else could change what is in a folder; the message names the folder and the reason."""


def folder(name: str) -> Path | None:
    """Return a private folder of this name, made if need be; None if there can be none.

    It is in ~/.cache/distcnn, which NUMBA_CACHE_DIR and XDG_CACHE_HOME move, or else where temporary files are. A
    place where others could change it is left out, with one warning.
    """
    for base, ours in _places():
        try:
            return private_folder(base, ours, *filter(None, [name]))
        except Unsafe as error:
            _warn(f"{error}; no compiled kernel is loaded from there, as it could be somebody else's code")
        except OSError:
            continue
    return None


def private_folder(base: str | os.PathLike, *names: str) -> Path:
    """Return the folder `names` below `base`, made if need be, with mode 0700.

    Raises Unsafe if somebody else could change what is in it, OSError if it cannot be made or written to.
    """
    path = _trusted(Path(os.path.abspath(base)))
    for name in names:
        path /= name
        status = _made(path)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise Unsafe(f"{path}: not a folder of this user; remove it, or set XDG_CACHE_HOME")
        if status.st_mode & OTHERS:
            raise Unsafe(f"{path}: other users can write there; remove this folder, or set XDG_CACHE_HOME")
    if not os.access(path, os.W_OK):
        raise PermissionError(f"{path}: cannot be written to")
    return path


def _trusted(path: Path) -> Path:
    """Return a folder's path without links, made if need be; raise Unsafe if others could put another in its place.

    Each folder on the way, that of a link included, belongs to this user or root; others can write to it only where
    they cannot rename what is not theirs, as in /tmp.
    """
    done, waiting, links = Path(path.anchor), [*reversed(path.parts[1:])], 0
    _require_trusted(done, os.lstat(done))
    while waiting:
        part = waiting.pop()
        done = done.parent if part == ".." else done / part
        status = _made(done)
        _require_trusted(done, status)
        if stat.S_ISLNK(status.st_mode):
            links += 1
            if links > LINKS:
                raise OSError(f"{path}: too many links")
            target = Path(os.readlink(done))
            done = Path(target.anchor) if target.is_absolute() else done.parent
            waiting += reversed(target.parts[target.is_absolute() :])
        elif not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(f"{done}: not a folder")
    return done


def _require_trusted(path: Path, status: os.stat_result) -> None:
    """Raise Unsafe if users other than this one, root and the owner of / can change the folder or link."""
    if status.st_uid not in (os.geteuid(), 0, os.lstat("/").st_uid):  # in some containers / is nobody's
        raise Unsafe(f"{path}: belongs to another user; set XDG_CACHE_HOME to a folder of your own")
    if stat.S_ISDIR(status.st_mode) and status.st_mode & OTHERS and not status.st_mode & stat.S_ISVTX:
        raise Unsafe(f"{path}: other users can write there; set XDG_CACHE_HOME to a folder of your own")


def _made(path: Path) -> os.stat_result:
    """Return the status of a folder, which is made if it is missing, or of what is in its place."""
    with suppress(FileNotFoundError):
        return os.lstat(path)
    with suppress(FileExistsError):  # another process was faster
        os.mkdir(path, 0o700)
    return os.lstat(path)


def _places() -> Iterator[tuple[Path, str]]:
    """Yield the folders in which ours may lie, and its name there, best first."""
    base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME")
    with suppress(RuntimeError):  # no home: neither HOME nor an entry for this user
        yield Path(base or Path.home() / ".cache"), "distcnn"
    with suppress(OSError):  # no folder for temporary files
        yield Path(tempfile.gettempdir()), f"distcnn-{os.geteuid()}"


_WARNED: list[str] = []


def _warn(text: str) -> None:
    """Warn on stderr, once in a process, and only on the first rank of a node where the launcher says which it is."""
    first = all(os.environ.get(name, "0") == "0" for name in LOCAL_RANKS)
    if first and not _WARNED:
        warn(text)
    _WARNED.append(text)
