"""IDX files, the format of MNIST and its relatives (LeCun et al. 1998), plain or gzipped."""

import gzip
import os
import re
import zlib
from math import prod
from pathlib import Path

import numpy as np

from distcnn.data.importers.importer import Importer, Options, Source
from distcnn.data.importers.writer import Samples
from distcnn.errors import DataError

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
    content = _content(Path(path))
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
    """Return a file's content, unpacked."""
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is damaged ({error}): download it again") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): check its permissions") from error


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
