"""The lock file of a run's folder: who holds it, and how exactly one of several jobs gets it.

It works without `flock`, which network file systems may lack: all that it needs is that to link a file to a name that
exists fails, and that renaming replaces a name at once.

A job gets the lock by a link to its own record. If there is a record already, and its holder has died, the jobs that
find it compete for a second lock, whose name ends with the dead record's token. The winner renames that second lock to
the first, if the dead record is still there: so it replaces this record and never a later one, however long ago it has
read it. A winner that dies in between leaves a dead record with the second name, for which the same holds.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from distcnn.errors import OutputError
from distcnn.run.lock_record import LIMIT, Record, parse
from distcnn.system.atomic_files import temporary_path
from distcnn.system.regular_files import open_regular

Wait = Callable[[Path, "Found"], None]

PAUSE = 0.01  # seconds before the next attempt
ROUNDS = 100  # attempts, after each of which another job was faster


class Found(NamedTuple):
    """What was found in the place of a lock file.

    record: the record, or None if the file is damaged.
    token: the record's token, or a hash of what a damaged file holds.
    trace: changes whenever the holder touches or replaces the file.
    """

    record: Record | None
    token: str
    trace: tuple


def read(path: Path) -> Found | None:
    """Return what is in the place of a lock, or None; raise OutputError if it is not a file or cannot be read."""
    try:
        with open_regular(path, follow_links=False) as file:
            return _found(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if not os.path.lexists(path):  # removed on another host just now, or in a folder that is closed
            return None
        what = f"cannot be read: {error.strerror}; wanted a job's lock"
        raise OutputError(f"{path}: {what}: remove it, or choose another --out") from None


def touch(path: Path, token: str) -> Found | None:
    """Give a lock a new time if it has this token; return what is in the place of the lock afterwards, as `read` does.

    The time goes to the file that was read, never to one that another job has put in its place meanwhile. Raises
    OSError if that fails.
    """
    try:
        file = open_regular(path, follow_links=False)
    except OSError:
        return read(path)  # which says why
    with file:
        if _found(file).token == token:
            os.utime(file.fileno())
    return read(path)


def _found(file: BinaryIO) -> Found:
    """Return what is in an open file."""
    status, content = os.fstat(file.fileno()), file.read(LIMIT + 1)
    record = parse(content)
    digest = hashlib.sha256(content).hexdigest()[:16]
    trace = digest, status.st_size, status.st_mtime_ns  # no inode: some network file systems make numbers up
    return Found(record, record.token if record else digest, trace)


def acquire(path: Path, record: Record, wait: Wait) -> Record:
    """Get a lock that is free, or whose holder is dead, or that has this record's token already; return the record.

    wait: wait(path, found) raises FolderInUse if the holder lives, and returns if it is dead or another has come.

    Raises FolderInUse or OutputError without the lock, and OSError if the disk fails.
    """
    for _ in range(ROUNDS):
        found = read(path)
        if found is None:
            if create(path, record):
                return record
            time.sleep(PAUSE)
            continue
        if found.record and found.token == record.token:  # of another process of this job
            return join(path, record, found.record)
        wait(path, found)
        _replace_dead(path, record, found.token, wait)
    raise OutputError(f"{path}: {ROUNDS} other jobs were faster; start again, or choose another --out")


def _replace_dead(path: Path, record: Record, token: str, wait: Wait) -> None:
    """Replace the dead record with this token by the one given, unless another job does so first."""
    second = path.with_name(f"{path.name}.{token}")
    acquire(second, record, wait)
    found = read(path)
    if found and found.token == token:
        os.replace(second, path)
    else:
        second.unlink(missing_ok=True)


def join(path: Path, record: Record, there: Record) -> Record:
    """Replace the record that another process of this job has written; return what is there then.

    there: that record, whose time and launcher stay; on a full disk it stays as it is.
    """
    joined = Record(record.token, there.since, there.launcher or record.launcher, record.processes)
    try:
        replace(path, joined)
    except OSError:
        return there
    return joined


def create(path: Path, record: Record) -> bool:
    """Write a record to a file that does not exist; return whether this was so. Raise OSError if the disk fails."""
    temporary = _write_beside(path, record)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return _links(temporary) == 2  # a network file system has lost the answer, and asked again
    except OSError:  # a file system without links
        return _links(temporary) == 2 or _write_new(path, record)
    finally:
        temporary.unlink(missing_ok=True)
    return True


def replace(path: Path, record: Record) -> None:
    """Write a record in the place of a lock that this job holds; raise OSError if the disk fails."""
    temporary = _write_beside(path, record)
    try:
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def release(path: Path, token: str) -> None:
    """Remove a lock, if it still has this token."""
    with suppress(OSError, OutputError):
        found = read(path)
        if found and found.token == token:
            path.unlink(missing_ok=True)


def _write_beside(path: Path, record: Record) -> Path:
    """Write a record to a new file in the lock's folder; return the file's path."""
    while not _write_new(temporary := temporary_path(path), record):
        continue
    return temporary


def _write_new(path: Path, record: Record) -> bool:
    """Write a record to a file that does not exist, which others may see before it is whole; return whether it is so.

    Raises OSError, and leaves no file, if the disk fails.
    """
    try:
        file = open(path, "xb", buffering=0)  # noqa: SIM115  (closed below)
    except FileExistsError:
        return False
    try:
        with file:
            if file.write(content := record.to_bytes()) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return True


def _links(path: Path) -> int:
    """Return how many names a file has; 0 if it is gone."""
    try:
        return os.stat(path).st_nlink
    except OSError:
        return 0
