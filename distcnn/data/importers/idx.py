"""IDX files, the format of MNIST and its relatives (LeCun et al. 1998), plain or gzipped."""

import gzip
import re
import zlib
from math import prod
from pathlib import Path

import numpy as np

from distcnn.data.importers.writer import Samples
from distcnn.errors import DataError

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
NAME = re.compile(r"(?:^|-)(train|test|t10k)-(images|labels)[-.]idx[13]-ubyte(?:\.gz)?$")
MEMBERS = [(part, kind) for part in ("train", "test") for kind in ("images", "labels")]

WANTED = "wanted a folder with MNIST's four files, train-images-idx3-ubyte and so on, plain or .gz"


def read_idx(path: str | Path) -> np.ndarray:
    """Return the array that an IDX file holds.

    The header: two zero bytes, a code for the type, the number of dimensions, each as a big-endian uint32.
    """
    content = _content(Path(path))
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in TYPES or not content[3]:
        raise DataError(
            f"{path} is not an IDX file (it begins with {content[:4].hex(' ')}): download it again"
        )
    dtype, header = np.dtype(TYPES[content[2]]), 4 + 4 * content[3]
    shape = tuple(int.from_bytes(content[start : start + 4], "big") for start in range(4, header, 4))
    wanted = header + prod(shape) * dtype.itemsize
    if len(content) != wanted:
        raise DataError(
            f"{path} has {len(content)} bytes, its shape {shape} wants {wanted}: download it again"
        )
    return np.frombuffer(content, dtype, offset=header).reshape(shape)


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is damaged ({error}): download it again") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): check its permissions") from error


def find_files(folder: str | Path) -> dict[tuple[str, str], Path]:
    """Return a dataset's four files by (part, kind); where one lies there plain and gzipped, the plain one.

    Names may have a prefix, as in emnist-letters-train-images-idx3-ubyte.gz, the same for all four.
    """
    folder, found = Path(folder), {}
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; {WANTED}")
    try:
        paths = sorted(folder.iterdir(), reverse=True)  # so the plain name comes last
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}; {WANTED}") from None
    for path in paths:
        if match := NAME.search(path.name):
            key = ("train" if match[1] == "train" else "test", match[2])
            found.setdefault(key, {})[path.name.removesuffix(".gz")] = path
    for part, kind in MEMBERS:
        names = sorted(found.get((part, kind), ()))
        if len(names) != 1:
            there = f"several files of {part} {kind}, {', '.join(names)}" if names else f"no {part} {kind}"
            raise DataError(f"{folder} holds {there}; {WANTED}")
    return {key: path for key, candidates in found.items() for path in candidates.values()}


def samples(folder: str | Path) -> Samples:
    """Return the samples in a folder's four IDX files.

    EMNIST (Cohen et al. 2017) stores its images transposed, columns as rows: files of that name are set upright.
    """
    files = find_files(folder)
    arrays = {key: _checked(path, key[1], read_idx(path)) for key, path in files.items()}
    parts = {part: (arrays[part, "images"], arrays[part, "labels"]) for part in ("train", "test")}
    for part, (images, labels) in parts.items():
        if len(images) != len(labels):
            raise DataError(
                f"{folder} has {len(images)} {part} images and {len(labels)} labels: download the files again"
            )
        if files[part, "images"].name.startswith("emnist-"):
            parts[part] = np.ascontiguousarray(images.swapaxes(2, 3)), labels
    count = 1 + max(int(labels.max(initial=0)) for _, labels in parts.values())
    return Samples(parts, tuple(map(str, range(count))))


def _checked(path: Path, kind: str, array: np.ndarray) -> np.ndarray:
    """Return images as [n, 1, h, w], labels as [n]; raise DataError unless the array is of that kind."""
    wanted = 3 if kind == "images" else 1
    if array.dtype != np.uint8 or array.ndim != wanted or not array.size:
        raise DataError(
            f"{path} holds {array.dtype} {array.shape}; wanted {kind}, uint8 in {wanted} dimensions"
        )
    return array[:, None] if kind == "images" else array
