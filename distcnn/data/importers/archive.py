"""Read the files in a folder or an archive one after the other, without unpacking the archive to disk.

An archive may be malicious. So no file is written under the name of a member, links in an archive are ignored, and a
member of more than LIMIT bytes, unpacked, is an error, as is an archive that unpacks to more than `unpacked_limit`.
Links in a folder are followed.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any, cast

from distcnn.data.importers.folder_walk import walk
from distcnn.errors import DataError
from distcnn.system.regular_files import open_regular

LIMIT = 2**28  # bytes of a file; the largest file of a known dataset, in CIFAR-100, has 147 MiB
OPENERS: dict[bytes, Callable[..., Any]] = {  # by the first bytes of a compressed file
    b"\xfd7zXZ\0": lzma.open,
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
}
PIECE = 2**24  # bytes that are read at a time: reading allocates what it is asked for
SINGLE = (".npy", ".mat", ".h5", ".hdf5", ".hdf", ".h5py")  # files of arrays, which are sources by themselves
TOTAL = 2**28  # bytes that any archive may unpack to
RATIO = 64  # times its size that a larger archive may unpack to: images and labels shrink less

Wanted = Callable[[str], bool]  # returns whether to read the file of this name, with slashes between folders
Files = Iterator[tuple[str, bytes]]  # (name, content)


def files(source: str | Path, wanted: Wanted, limit: int | None = None) -> Files:
    """Yield (name, content) for some of the files in a folder or an archive, in an undefined order.

    source: the path of the folder or the archive, or of one file of arrays.
    wanted: a function that returns whether to read the file of a name.
    limit: bytes that a file may have; None: LIMIT

    Raises DataError if a file cannot be read, or if a name has steps that lead out of the archive.
    """
    source, most = Path(source), LIMIT if limit is None else limit
    try:
        if source.is_dir():
            yield from _of_folder(source, wanted, most)
        elif source.name.lower().endswith(SINGLE):
            yield from _of_file(source, source.name, wanted, most)
        else:
            with open_regular(source) as file:
                of_zip = file.read(2) == b"PK"
            yield from (_of_zip if of_zip else _of_tar)(source, wanted, most)
    except DataError:
        raise
    except Exception as error:  # the modules for archives raise exceptions of any kind on false headers
        reason = " ".join(str(getattr(error, "strerror", None) or error).split()) or "it ends too early"
        wanted_source = "wanted a folder, .tar, .tar.xz, .tar.gz or .zip"
        raise DataError(f"{source} cannot be read ({reason}): {wanted_source}") from error


def _of_folder(source: Path, wanted: Wanted, limit: int) -> Files:
    for inner in walk(source):
        if wanted(inner):
            try:
                yield from _of_file(source / inner, inner, wanted, limit)
            except OSError as error:
                raise DataError(f"{source / inner} cannot be read ({error.strerror}): take it out") from None


def _of_file(path: Path, name: str, wanted: Wanted, limit: int) -> Files:
    if wanted(name):
        with open_regular(path) as file:
            content = _content(file, path, name, limit)
        yield name, content


def _of_zip(source: Path, wanted: Wanted, limit: int) -> Files:
    unpacked = Unpacked(source)
    with open_regular(source) as packed, zipfile.ZipFile(packed) as archive:
        for member in archive.infolist():
            name = _inner_name(member.filename.replace("\\", "/"), source)
            if not member.filename.endswith(("/", "\\")) and wanted(name):
                with archive.open(member) as file:
                    content = _content(file, source, name, limit, unpacked.add)
                yield name, content


def _of_tar(source: Path, wanted: Wanted, limit: int) -> Files:
    unpacked = Unpacked(source)
    with open_regular(source) as file:
        head = file.read(6)
        file.seek(0)
        opener = next((opener for magic, opener in OPENERS.items() if head.startswith(magic)), None)
        plain = opener(file) if opener else file
        bounded = cast(Any, Bounded(plain, Unpacked(source)))
        with closing(plain), tarfile.open(fileobj=bounded, mode="r:") as archive:
            while (member := archive.next()) is not None:
                cast(Any, archive).members.clear()  # tarfile would keep all members in memory
                _check_sizes(member)
                name = _inner_name(member.name, source)
                if member.isfile() and wanted(name):
                    content = cast(IO[bytes], archive.extractfile(member))
                    yield name, _content(content, source, name, limit)
                unpacked.reach(archive.offset)  # before the bytes up to there are unpacked
            plain.seek(archive.offset)
            if not plain.read(1):  # an archive must end with blocks of zeros
                raise tarfile.ReadError("it ends too early")


class Bounded:
    """A file that refuses to read more than LIMIT bytes at once, since tarfile reads headers of any size."""

    def __init__(self, file: IO[bytes], read: Unpacked) -> None:
        self._file, self._read, self.seek, self.tell = file, read, file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes; raise tarfile.ReadError if that is more than LIMIT."""
        if not 0 <= size <= LIMIT:
            raise tarfile.ReadError(f"a header of {size} bytes, more than {LIMIT >> 20} MiB")
        found = self._file.read(size)
        self._read.add(len(found))
        return found


class Unpacked:
    """Counts the bytes that an archive gives; raises DataError when they are more than its size justifies."""

    def __init__(self, source: Path) -> None:
        self._source, self._limit, self._bytes = source, unpacked_limit(os.stat(source).st_size), 0

    def add(self, size: int) -> None:
        """Count so many bytes more."""
        self._bytes += size
        if self._bytes > self._limit:
            size, limit = self._bytes >> 20, self._limit >> 20
            found = (
                f"it unpacks to {size} MiB or more, and {limit} MiB is the limit for an archive of its size"
            )
            raise DataError(f"{self._source}: {found}: unpack it yourself and import the folder")

    def reach(self, offset: int) -> None:
        """Count the bytes up to this offset, which must be larger than the one before."""
        if offset <= self._bytes:
            raise tarfile.ReadError("a member of a size below 0")
        self.add(offset - self._bytes)


def unpacked_limit(packed: int) -> int:
    """Return how many bytes a packed file of so many bytes may give."""
    return max(TOTAL, RATIO * packed)


def _check_sizes(member: tarfile.TarInfo) -> None:
    """Raise ReadError if a size is below 0, or the pieces of a sparse file lie outside of it or over each other."""
    end = 0
    for offset, size in getattr(member, "sparse", None) or ():
        if offset < end or size < 0:
            raise tarfile.ReadError("a sparse file whose pieces overlap")
        end = offset + size
    if not 0 <= end <= member.size:
        raise tarfile.ReadError(f"a member of {member.size} bytes")


def _inner_name(name: str, source: Path) -> str:
    """Return the normalized name of a member; raise DataError if it contains "..", which leads out of the archive."""
    steps = [step for step in name.split("/") if step not in ("", ".")]
    if ".." in steps:
        raise DataError(f"{source} holds a name that leads outside, {name[:100]!r}: pack it again")
    return "/".join(steps)


def _content(
    file: IO[bytes], source: Path, name: str, limit: int, count: Callable[[int], None] | None = None
) -> bytes:
    """Return the content of a file; raise DataError if it is larger than the limit.

    count: is called with the number of bytes of each piece that is read
    """
    pieces, size = [], 0
    while piece := file.read(min(PIECE, limit + 1)):
        pieces.append(piece)
        size += len(piece)
        if count:
            count(len(piece))
        if size > limit:
            what = "is larger than" if limit == LIMIT else "has more than"
            found = f"{name[:100]} {what} {limit >> 20} MiB, the limit"
            raise DataError(f"{source}: {found}: take it out, or import fewer samples")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
