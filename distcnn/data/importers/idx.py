"""IDX files, the format of MNIST and its relatives (LeCun et al. 1998), plain or gzipped."""

import gzip
import io
import re
import zlib
from collections.abc import Iterable
from math import prod
from pathlib import Path

import numpy as np

from distcnn.data.importers.archive import files, unpacked_limit
from distcnn.data.importers.importer import Importer, Options, Source
from distcnn.data.importers.writer import Pair, Samples
from distcnn.data.label_values import MAX_CLASSES
from distcnn.data.schema import MEMORY_LIMIT
from distcnn.errors import DataError

QMNIST_COLUMNS = 8
TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
NAME = re.compile(r"(?:^|-)(train|test|t10k)-(images|labels)[-.]idx[123]-(?:ubyte|int)(?:\.gz)?$")
SPLITS, KINDS = ("train", "test"), ("images", "labels")

WANTED = "wanted a folder with MNIST's four files, train-images-idx3-ubyte and so on, plain or .gz"

Key = tuple[str, str]  # (split, kind)


def recognizes(source: Source) -> bool:
    """Return whether a source has files with the names of MNIST's."""
    return any(NAME.search(_last(name)) for name in source.names)


def read_idx_files(source: Source, options: Options) -> Samples:
    """Return the samples in IDX files: of the training split and, if it is there, of the test split.

    EMNIST (Cohen et al. 2017) stores its images transposed: images in files whose names begin with "emnist-" are
    transposed back. Of the labels of QMNIST (Yadav and Bottou 2019), eight for each image, the first is the class.
    """
    chosen = choose_files(source.names, source.path)
    found = {}
    names = {name: key for key, name in chosen.items()}
    for name, content in files(source.path, names.__contains__, MEMORY_LIMIT):
        where = source.local_path(name) or f"{source.path}: {name}"
        found[names[name]] = _checked(where, names[name][1], parse_idx(_unpacked(content, where), where))
    splits: dict[str, Pair] = {}
    for split in SPLITS:
        if (split, "images") in found:
            images, labels = found[split, "images"], found[split, "labels"]
            if len(images) != len(labels):
                counts = f"{len(images)} {split} images and {len(labels)} labels"
                raise DataError(f"{source.path} has {counts}: download the files again")
            if _last(chosen[split, "images"]).startswith("emnist-"):
                images = np.ascontiguousarray(images.swapaxes(2, 3))
            splits[split] = images, labels
    count = 1 + max(int(labels.max(initial=0)) for _, labels in splits.values() if labels is not None)
    return Samples(splits, tuple(map(str, range(count))))


def find_files(folder: str | Path) -> dict[Key, Path]:
    """Return the paths of a dataset's files in a folder, by (split, kind)."""
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; {WANTED}")
    return {key: folder / name for key, name in choose_files(Source(folder).names, folder).items()}


def choose_files(names: Iterable[str], where: str | Path) -> dict[Key, str]:
    """Return the names of a dataset's files, by (split, kind); a plain file is preferred to a gzipped one.

    Names may have a prefix, as in emnist-letters-train-images-idx3-ubyte.gz, which must be the same for all. The files
    of the test split may be missing, both of them.
    """
    found: dict[Key, dict[str, str]] = {}
    for name in sorted(names, reverse=True):  # so that a plain file replaces a gzipped one
        if match := NAME.search(_last(name)):
            key = ("train" if match[1] == "train" else "test", match[2])
            found.setdefault(key, {})[name.removesuffix(".gz")] = name
    splits = SPLITS if any((split, kind) in found for split in SPLITS[1:] for kind in KINDS) else SPLITS[:1]
    for split in splits:
        for kind in KINDS:
            candidates = sorted(found.get((split, kind), ()))
            if len(candidates) != 1:
                several = f"several files of {split} {kind}, {', '.join(candidates)}"
                raise DataError(f"{where} holds {several if candidates else f'no {split} {kind}'}; {WANTED}")
    return {key: name for key, candidates in found.items() for name in candidates.values()}


def read_idx(path: str | Path) -> np.ndarray:
    """Return the array in an IDX file, plain or gzipped."""
    path = Path(path)
    [(_, content)] = files(path.parent, path.name.__eq__, MEMORY_LIMIT)
    return parse_idx(_unpacked(content, path), path)


def parse_idx(content: bytes, where: str | Path) -> np.ndarray:
    """Return the array in the content of an IDX file.

    The header is two zero bytes, a byte for the type, a byte for the number of dimensions, and each dimension as a
    big-endian uint32.

    where: the file, for messages
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in TYPES or not content[3]:
        begin = content[:4].hex(" ")
        raise DataError(f"{where} is not an IDX file (it begins with {begin}): download it again")
    dtype, header = np.dtype(TYPES[content[2]]), 4 + 4 * content[3]
    shape = tuple(int.from_bytes(content[start : start + 4], "big") for start in range(4, header, 4))
    wanted = header + prod(shape) * dtype.itemsize
    if len(content) != wanted:
        found = f"{len(content)} bytes, but its shape {shape} needs {wanted}"
        raise DataError(f"{where} has {found}: download it again")
    return np.frombuffer(content, dtype, offset=header).reshape(shape)


def _unpacked(content: bytes, where: str | Path) -> bytes:
    """Return the content of a file, unpacked if it is gzipped; DataError if that is more than `unpacked_limit`."""
    if content[:2] != b"\x1f\x8b":
        return content
    limit = min(MEMORY_LIMIT, unpacked_limit(len(content)))
    pieces, size = [], 0
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            while size <= limit and (piece := file.read(2**24)):
                pieces.append(piece)
                size += len(piece)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{where} is damaged ({error}): download it again") from error
    if size > limit:
        found = f"unpacks to more than {limit >> 20} MiB, the limit for a file of its size"
        raise DataError(f"{where} {found}: import fewer images")
    return b"".join(pieces)


def _checked(where: str | Path, kind: str, array: np.ndarray) -> np.ndarray:
    """Return images as [n, 1, h, w], labels as [n]; raise DataError unless the array is of that kind."""
    if kind == "labels" and array.ndim == 2 and array.shape[1] == QMNIST_COLUMNS and array.dtype == ">i4":
        array = array[:, 0]
        if array.size and not 0 <= array.min() <= array.max() < MAX_CLASSES:
            raise DataError(f"{where} holds labels from {array.min()} to {array.max()}: download it again")
        return array.astype(np.int32)
    wanted = 3 if kind == "images" else 1
    if array.dtype != np.uint8 or array.ndim != wanted or not array.size:
        found = f"{array.dtype} {array.shape}; wanted {kind}, uint8 in {wanted} dimensions"
        raise DataError(f"{where} holds {found}")
    return array[:, None] if kind == "images" else array


def _last(name: str) -> str:
    return name.rpartition("/")[2]


IMPORTER = Importer(
    title="MNIST's IDX files",
    wanted="MNIST's four IDX files",
    recognizes=recognizes,
    read=read_idx_files,
)
