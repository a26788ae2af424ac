"""Read the files in a folder or an archive one after the other, without unpacking the archive to disk.

An archive may be malicious. So no file is written under the name of a member, links in an archive are ignored, and a
member of more than LIMIT bytes, unpacked, is an error.
"""

import bz2
import gzip
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any, cast

from distcnn.errors import DataError

LIMIT = 2**28  # bytes of a file; the largest file of a known dataset, in CIFAR-100, has 147 MiB
OPENERS: dict[bytes, Callable[..., Any]] = {  # by the first bytes of a compressed file
    b"\xfd7zXZ\0": lzma.open,
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
}
ERRORS = (
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    OSError,
    NotImplementedError,
    *(ValueError, RuntimeError, OverflowError),  # zipfile raises these for a wrong header or a password
)

Wanted = Callable[[str], bool]  # returns whether to read the file of this name, with slashes between folders
Files = Iterator[tuple[str, bytes]]  # (name, content)


def files(source: str | Path, wanted: Wanted) -> Files:
    """Yield (name, content) for some of the files in a folder or an archive, in an undefined order.

    source: the path of the folder or the archive.
    wanted: a function that returns whether to read the file of a name.

    Raises DataError if a file cannot be read, or if a name has steps that lead out of the archive.
    """
    source = Path(source)
    try:
        if source.is_dir():
            yield from _of_folder(source, wanted)
        else:
            with open(source, "rb") as file:
                of_zip = file.read(2) == b"PK"
            yield from (_of_zip if of_zip else _of_tar)(source, wanted)
    except ERRORS as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split()) or "it ends too early"
        wanted_source = "wanted a folder, .tar, .tar.xz, .tar.gz or .zip"
        raise DataError(f"{source} cannot be read ({reason}): {wanted_source}") from error


def _of_folder(source: Path, wanted: Wanted) -> Files:
    for folder, folders, names in os.walk(source, onerror=_raise):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            inner = path.relative_to(source).as_posix()
            if wanted(inner) and path.is_file():
                with open(path, "rb") as file:
                    yield inner, _content(file, source, inner)


def _of_zip(source: Path, wanted: Wanted) -> Files:
    with zipfile.ZipFile(source) as archive:
        for member in archive.infolist():
            name = _inner_name(member.filename.replace("\\", "/"), source)
            if not member.is_dir() and wanted(name):
                with archive.open(member) as file:
                    yield name, _content(file, source, name)


def _of_tar(source: Path, wanted: Wanted) -> Files:
    with open(source, "rb") as file:
        head = file.read(6)
        file.seek(0)
        opener = next((opener for magic, opener in OPENERS.items() if head.startswith(magic)), None)
        plain = opener(file) if opener else file
        with closing(plain), tarfile.open(fileobj=cast(Any, Bounded(plain)), mode="r:") as archive:
            while (member := archive.next()) is not None:
                cast(Any, archive).members.clear()  # tarfile would keep all members in memory
                name = _inner_name(member.name, source)
                if member.isfile() and wanted(name):
                    content = cast(IO[bytes], archive.extractfile(member))
                    yield name, _content(content, source, name)
            plain.seek(archive.offset)
            if not plain.read(1):  # an archive must end with blocks of zeros
                raise tarfile.ReadError("it ends too early")


class Bounded:
    """A file that refuses to read more than LIMIT bytes at once, since tarfile reads headers of any size."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.seek, self.tell = file, file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes; raise tarfile.ReadError if that is more than LIMIT."""
        if not 0 <= size <= LIMIT:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._file.read(size)


def _raise(error: OSError) -> None:
    raise error


def _inner_name(name: str, source: Path) -> str:
    """Return the normalized name of a member; raise DataError if it contains "..", which leads out of the archive."""
    steps = [step for step in name.split("/") if step not in ("", ".")]
    if ".." in steps:
        raise DataError(f"{source} holds a name that leads outside, {name[:100]!r}: pack it again")
    return "/".join(steps)


def _content(file: IO[bytes], source: Path, name: str) -> bytes:
    """Return the content of a file; raise DataError if it is larger than LIMIT."""
    content = file.read(LIMIT + 1)
    if len(content) > LIMIT:
        found = f"{name[:100]} is larger than {LIMIT >> 20} MiB"
        raise DataError(f"{source}: {found}; wanted an image: take it out")
    return content
