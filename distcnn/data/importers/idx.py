"""IDX files, the format of MNIST and its relatives (LeCun et al. 1998), plain or gzipped."""

import gzip
import os
import re
import zlib
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np

from distcnn.data.importers.archive import unpacked_limit
from distcnn.data.importers.importer import Importer, Options, Source
from distcnn.data.importers.writer import Samples
from distcnn.data.schema import MEMORY_LIMIT
from distcnn.errors import DataError
from distcnn.system.regular_files import open_regular

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
NAME = re.compile(r"(?:^|-)(train|test|t10k)-(images|labels)[-.]idx[13]-ubyte(?:\.gz)?$")
MEMBERS = [(split, kind) for split in ("train", "test") for kind in ("images", "labels")]

WANTED = "wanted a folder with MNIST's four files, train-images-idx3-ubyte and so on, plain or .gz"


def recognizes(source: Source) -> bool:
    """Return whether a source is a folder that has files with the names of MNIST's."""
    return source.is_folder and any(map(NAME.search, os.listdir(source.path)))


def read_idx_files(source: Source, options: Options) -> Samples:
    """Return the samples in a folder's four IDX files.

    EMNIST (Cohen et al. 2017) stores its images transposed: images in files whose names begin with "emnist-" are
    transposed back.
    """
    paths = find_files(source.path)
    arrays = {key: _checked(path, key[1], read_idx(path)) for key, path in paths.items()}
    splits = {split: (arrays[split, "images"], arrays[split, "labels"]) for split in ("train", "test")}
    for split, (images, labels) in splits.items():
        if len(images) != len(labels):
            found = f"{len(images)} {split} images and {len(labels)} labels"
            raise DataError(f"{source.path} has {found}: download the files again")
        if paths[split, "images"].name.startswith("emnist-"):
            splits[split] = np.ascontiguousarray(images.swapaxes(2, 3)), labels
    count = 1 + max(int(labels.max(initial=0)) for _, labels in splits.values())
    return Samples(splits, tuple(map(str, range(count))))


def find_files(folder: str | Path) -> dict[tuple[str, str], Path]:
    """Return the paths of the four files of a dataset, by (split, kind); a plain file is preferred to a gzipped one.

    Names may have a prefix, as in emnist-letters-train-images-idx3-ubyte.gz, which must be the same for all four.
    """
    folder = Path(folder)
    found: dict[tuple[str, str], dict[str, Path]] = {}
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; {WANTED}")
    try:
        paths = sorted(folder.iterdir(), reverse=True)  # so that a plain file replaces a gzipped one
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}; {WANTED}") from None
    for path in paths:
        if match := NAME.search(path.name):
            key = ("train" if match[1] == "train" else "test", match[2])
            found.setdefault(key, {})[path.name.removesuffix(".gz")] = path
    for split, kind in MEMBERS:
        names = sorted(found.get((split, kind), ()))
        if len(names) != 1:
            several = f"several files of {split} {kind}, {', '.join(names)}"
            raise DataError(f"{folder} holds {several if names else f'no {split} {kind}'}; {WANTED}")
    return {key: path for key, candidates in found.items() for path in candidates.values()}


def read_idx(path: str | Path) -> np.ndarray:
    """Return the array in an IDX file.

    The header is two zero bytes, a byte for the type, a byte for the number of dimensions, and each dimension as a
    big-endian uint32.
    """
    path = Path(path)
    content = _content(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in TYPES or not content[3]:
        begin = content[:4].hex(" ")
        raise DataError(f"{path} is not an IDX file (it begins with {begin}): download it again")
    dtype, header = np.dtype(TYPES[content[2]]), 4 + 4 * content[3]
    shape = tuple(int.from_bytes(content[start : start + 4], "big") for start in range(4, header, 4))
    wanted = header + prod(shape) * dtype.itemsize
    if len(content) != wanted:
        found = f"{len(content)} bytes, but its shape {shape} needs {wanted}"
        raise DataError(f"{path} has {found}: download it again")
    return np.frombuffer(content, dtype, offset=header).reshape(shape)


def _content(path: Path) -> bytes:
    """Return a file's content, unpacked; DataError if that is more than `unpacked_limit` or MEMORY_LIMIT."""
    try:
        with open_regular(path) as file:
            is_packed = file.read(2) == b"\x1f\x8b"
            size = os.fstat(file.fileno()).st_size
            limit = min(MEMORY_LIMIT, unpacked_limit(size) if is_packed else size + 1)
            file.seek(0)
            content = _read(gzip.GzipFile(fileobj=file) if is_packed else file, limit)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is damaged ({error}): download it again") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): check its permissions") from error
    if content is None:
        found = f"{'unpacks to' if is_packed else 'has'} more than {limit >> 20} MiB, the limit"
        raise DataError(f"{path} {found}{' for a file of its size' * is_packed}: import fewer images")
    return content


def _read(file: BinaryIO | gzip.GzipFile, limit: int) -> bytes | None:
    """Return what a file still holds, or None if that is more than `limit` bytes; memory grows with what is there."""
    pieces, size = [], 0
    while piece := file.read(2**24):
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            return None
    return b"".join(pieces)


def _checked(path: Path, kind: str, array: np.ndarray) -> np.ndarray:
    """Return images as [n, 1, h, w], labels as [n]; raise DataError unless the array is of that kind."""
    wanted = 3 if kind == "images" else 1
    if array.dtype != np.uint8 or array.ndim != wanted or not array.size:
        found = f"{array.dtype} {array.shape}; wanted {kind}, uint8 in {wanted} dimensions"
        raise DataError(f"{path} holds {found}")
    return array[:, None] if kind == "images" else array


IMPORTER = Importer(
    title="MNIST's IDX files",
    wanted="MNIST's four IDX files",
    recognizes=recognizes,
    read=read_idx_files,
)
