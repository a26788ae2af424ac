"""The files in a folder or in an archive, read one after the other: an archive is never unpacked to disk.

Archives come from strangers. Names are only names here, nothing is written under them; links in an archive are
ignored, and no member may take more memory than LIMIT, however little it takes packed.
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

LIMIT = 2**28  # bytes of a file: CIFAR-100's 147 MiB are the largest that is wanted
OPENERS: dict[bytes, Callable[..., Any]] = {  # by how a packed file begins
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
    *(ValueError, RuntimeError, OverflowError),  # of zipfile: a false header, a password
)

Wanted = Callable[[str], bool]  # whether to read the file of this name, which has slashes between its steps
Files = Iterator[tuple[str, bytes]]  # name and content


def files(source: str | Path, wanted: Wanted) -> Files:
    """Yield name and content of the files in a folder or archive whose names are wanted, in no certain order.

    Raises DataError for what cannot be read, and for names that lead outside of the archive.
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
        raise DataError(
            f"{source} cannot be read ({reason}): wanted a folder, .tar, .tar.xz, .tar.gz or .zip"
        ) from error


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
                cast(Any, archive).members.clear()  # tarfile would remember all
                name = _inner_name(member.name, source)
                if member.isfile() and wanted(name):
                    content = cast(IO[bytes], archive.extractfile(member))
                    yield name, _content(content, source, name)
            plain.seek(archive.offset)
            if not plain.read(1):  # where blocks of zeros belong
                raise tarfile.ReadError("it ends too early")


class Bounded:
    """A file of which no more than LIMIT bytes are read at once: tarfile reads headers of any size into memory."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.seek, self.tell = file, file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes."""
        if not 0 <= size <= LIMIT:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._file.read(size)


def _raise(error: OSError) -> None:
    raise error


def _inner_name(name: str, source: Path) -> str:
    """Return the name of a member in one form; DataError if it leads outside of the archive."""
    steps = [step for step in name.split("/") if step not in ("", ".")]
    if ".." in steps:
        raise DataError(f"{source} holds a name that leads outside, {name[:100]!r}: pack it anew")
    return "/".join(steps)


def _content(file: IO[bytes], source: Path, name: str) -> bytes:
    """Return a file's content; DataError if it is larger than LIMIT."""
    content = file.read(LIMIT + 1)
    if len(content) > LIMIT:
        found = f"{name[:100]} is larger than {LIMIT >> 20} MiB"
        raise DataError(f"{source}: {found}; wanted an image: take it out")
    return content
