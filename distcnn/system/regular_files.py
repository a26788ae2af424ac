"""Regular files, opened for reading: a pipe would wait for ever, and a device such as /dev/zero has no end."""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO


class TooLarge(ValueError):
    """A file that is over a limit; the text says which."""


def open_regular(path: str | os.PathLike) -> BinaryIO:
    """Open a regular file, or a link to one, for reading bytes; raise OSError for whatever else it is."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # opening a pipe does not wait
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "a pipe or a device, not a regular file", str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: str | os.PathLike, limit: int) -> bytes:
    """Return a regular file's content; raise TooLarge if it has more than `limit` bytes, OSError as `open_regular`."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size  # reading allocates what it is asked for
        content = file.read(min(limit, max(size, 2**16)) + 1)
    if len(content) > limit:
        raise TooLarge(f"larger than {limit >> 20} MiB")
    return content
