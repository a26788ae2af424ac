"""Regular files and nothing else: a pipe would wait for ever, and a device such as /dev/zero has no end."""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO, cast

PIECE = 2**16  # bytes that are read at a time from a file that grows, or whose size the system does not know


class TooLarge(ValueError):
    """A file that is over a limit; the text says which."""


def open_regular(path: str | os.PathLike, follow_links: bool = True) -> BinaryIO:
    """Open a regular file for reading bytes; raise OSError for whatever else it is.

    follow_links: a link to a regular file is opened, too
    """
    return _opened(path, os.O_RDONLY | (0 if follow_links else os.O_NOFOLLOW), "rb")


def open_to_append(path: str | os.PathLike) -> BinaryIO:
    """Open a regular file, made if it is missing, for appending bytes without a buffer.

    Raises OSError for whatever else it is: a link could lead to any other file of this user.
    """
    return _opened(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, "ab")


def _opened(path: str | os.PathLike, flags: int, mode: str) -> BinaryIO:
    """Open a file; the arguments are those of `_descriptor` and of `os.fdopen`."""
    descriptor = _descriptor(path, flags)
    try:
        return cast(BinaryIO, os.fdopen(descriptor, mode, buffering=0 if mode == "ab" else -1))
    except BaseException:
        os.close(descriptor)
        raise


def _descriptor(path: str | os.PathLike, flags: int) -> int:
    """Open a file by flags of `os.open`, without waiting for a pipe; raise OSError unless it is a regular file."""
    try:
        descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if flags & os.O_NOFOLLOW and os.path.islink(path):
            raise OSError(error.errno, "a link, not a regular file", str(path)) from None
        raise
    try:
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(kind):
            raise OSError(errno.EINVAL, "a pipe or a device, not a regular file", str(path))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_regular(path: str | os.PathLike, limit: int) -> bytes:
    """Return a regular file's content; raise TooLarge if it has more than `limit` bytes, OSError as `open_regular`."""
    descriptor = _descriptor(path, os.O_RDONLY)
    try:
        pieces, size = [], os.fstat(descriptor).st_size
        left, asked = limit + 1, size + 1  # not more: a read allocates what it is asked for
        while left and (piece := os.read(descriptor, min(left, asked))):
            pieces.append(piece)
            left, asked = left - len(piece), PIECE
    finally:
        os.close(descriptor)
    if not left:
        raise TooLarge(f"larger than {limit >> 20} MiB")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
