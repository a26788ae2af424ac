"""Files of a cache with a SHA-256 in front, for content that would do harm if a bit of it had changed.

The checksum finds damage. That nobody else writes such a file is up to its folder (system/cache_dir); what does not
belong to this user, or is no regular file, is not read all the same.
"""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path

from distcnn.system.atomic_files import temporary_path

DIGEST = hashlib.sha256().digest_size


def write(path: Path, content: bytes) -> None:
    """Write a file that appears whole, with mode 0600; raise OSError if that fails.

    It is not flushed to disk: after a crash of the machine the checksum says whether it is whole.
    """
    temporary = temporary_path(path)
    try:
        with open(temporary, "xb", opener=_private) as file:
            file.write(_digest(path, content) + content)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def read(path: Path) -> bytes | None:
    """Return the content that was written to a file, or None if there is no file.

    Raises ValueError for another content or a file of somebody else, and OSError.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            raise ValueError("not a file of this user")
        found = file.read(DIGEST)
        content = file.read()
    if found != _digest(path, content):
        raise ValueError("its checksum does not match")
    return content


def _digest(path: Path, content: bytes) -> bytes:
    """Return the SHA-256 of a file's name, so that files cannot be mistaken for each other, and of its content."""
    total = hashlib.sha256(os.fsencode(path.name) + b"\0")
    total.update(content)
    return total.digest()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
