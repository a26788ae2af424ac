"""The files in a folder or in an archive, read one after the other: an archive is never unpacked to disk.

Archives come from strangers. Names are only names here, nothing is written under them; links in an archive are passed
over, and no member may take more memory than LIMIT, however little it takes packed.
"""

import bz2
import gzip
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from distcnn.errors import DataError

LIMIT = 2**28  # bytes of a file: CIFAR-100's 147 MiB are the largest that is wanted
PACKED = {b"\xfd7zXZ\0": lzma.open, b"\x1f\x8b": gzip.open, b"BZh": bz2.open}
DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    OSError,
    NotImplementedError,
)
DAMAGE += (ValueError, RuntimeError, OverflowError)  # of zipfile: a false header, a password


def files(source: str | Path, wanted) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the files in a folder or archive whose names are `wanted`, in no certain order.

    wanted(name): whether to read it; a name has slashes between its parts. Raises DataError for what cannot be read,
    and for names that lead outside.
    """
    source = Path(source)
    try:
        if source.is_dir():
            yield from _of_folder(source, wanted)
        else:
            with open(source, "rb") as file:
                of_zip = file.read(2) == b"PK"
            yield from (_of_zip if of_zip else _of_tar)(source, wanted)
    except DAMAGE as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split()) or "it ends too early"
        raise DataError(
            f"{source} cannot be read ({reason}): wanted a folder, .tar, .tar.xz, .tar.gz or .zip"
        ) from error


def _of_folder(source, wanted):
    for folder, folders, names in os.walk(source, onerror=_raise):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            inner = path.relative_to(source).as_posix()
            if wanted(inner) and path.is_file():
                with open(path, "rb") as file:
                    yield inner, _content(file, source, inner)


def _of_zip(source, wanted):
    with zipfile.ZipFile(source) as archive:
        for member in archive.infolist():
            name = _inside(member.filename.replace("\\", "/"), source)
            if not member.is_dir() and wanted(name):
                with archive.open(member) as file:
                    yield name, _content(file, source, name)


def _of_tar(source, wanted):
    with open(source, "rb") as file:
        head = file.read(6)
        file.seek(0)
        opener = next((opener for magic, opener in PACKED.items() if head.startswith(magic)), None)
        plain = opener(file) if opener else file
        with closing(plain), tarfile.open(fileobj=Bounded(plain), mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # it would keep all
                name = _inside(member.name, source)
                if member.isfile() and wanted(name):
                    yield name, _content(archive.extractfile(member), source, name)
            plain.seek(archive.offset)
            if not plain.read(1):  # where blocks of zeros belong
                raise tarfile.ReadError("it ends too early")


class Bounded:
    """A file of which no more than LIMIT bytes are read at once: tarfile reads headers of any size into memory."""

    def __init__(self, file):
        self._file, self.seek, self.tell = file, file.seek, file.tell

    def read(self, size=-1):
        """Return so many bytes."""
        if not 0 <= size <= LIMIT:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._file.read(size)


def _raise(error):
    raise error


def _inside(name, source):
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise DataError(f"{source} holds a name that leads outside, {name[:100]!r}: pack it anew")
    return "/".join(parts)


def _content(file, source, name):
    content = file.read(LIMIT + 1)
    if len(content) > LIMIT:
        raise DataError(
            f"{source}: {name[:100]} is larger than {LIMIT >> 20} MiB; wanted an image: take it out"
        )
    return content
