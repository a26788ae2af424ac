"""The datasets of any HDF5 file, with those of MATLAB 7.3, which another process reads first, as HDF5 may crash."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import h5py
import numpy as np

from distcnn.data.classes import class_names
from distcnn.data.hdf5_dataset import find_dataset
from distcnn.data.hdf5_file import open_hdf5
from distcnn.data.hdf5_virtual import check_sources
from distcnn.data.schema import MEMORY_LIMIT
from distcnn.errors import DataError
from distcnn.system.process_pool import Crashed, in_processes

MAGIC = b"\x89HDF\r\n\x1a\n"
USER_BLOCKS = (0, 512, 1024, 2048, 4096)  # offsets at which an HDF5 file may begin, behind MATLAB's header
MOST = 10_000  # datasets of a file
TEXT_LIMIT = 2**26  # bytes of text, and of encoded images, that are read with Python objects


def class_attribute(path: Path) -> tuple[str, ...] | None:
    """Return the names in the attribute `classes` of a file of distcnn's own layout, if it has one."""
    with open_hdf5(path) as file:
        return class_names(file)


@dataclass(frozen=True)
class Dataset:
    """A dataset of a file, whose dtype is that of objects if it holds text or arrays of several lengths."""

    file: str
    path: str
    shape: tuple[int, ...]
    dtype: np.dtype
    rows: tuple[int, int] | None = None  # the first, and the one after the last; None for all

    def read(self) -> np.ndarray:
        """Return all values; raise DataError if they lie elsewhere, or if another process cannot read them."""
        self._check_place()
        [(_, problem)] = in_processes(problem_of, [[(self.file, self.path)]], 1)
        if isinstance(problem, Crashed):
            problem = f"reading it crashes HDF5 ({problem.signal}), or takes too long"
        if problem:
            raise DataError(f"{self.file}: {self.path}: {problem}: create the file again")
        with open_hdf5(self.file) as file:
            found = file[self.path]
            values = found.asstr()[()] if h5py.check_string_dtype(found.dtype) else found[()]
            return values[slice(*self.rows)] if self.rows else values

    def _check_place(self) -> None:
        """Raise DataError if values lie in other files, but for HDF5 files in the folder of this one, or below."""
        with open_hdf5(self.file, (self.path,)) as file:
            try:
                found = find_dataset(file, self.path)
                if found.is_virtual:
                    check_sources(file, found)
            except DataError as error:
                raise DataError(f"{self.file}: {error}") from None


def is_hdf5(path: Path) -> bool:
    """Return whether a file begins as HDF5 files do."""
    try:
        with open(path, "rb") as file:
            return is_hdf5_content(file.read(USER_BLOCKS[-1] + len(MAGIC)))
    except OSError:
        return False


def is_hdf5_content(content: bytes) -> bool:
    """Return whether the content of a file begins as HDF5 files do."""
    return any(content[start : start + len(MAGIC)] == MAGIC for start in USER_BLOCKS)


def datasets(path: Path, stack: ExitStack) -> Iterator[tuple[str, Dataset]]:
    """Yield (path, dataset) of all datasets in a file that can be read."""
    with open_hdf5(path) as file:
        names: list[str] = []
        file.visititems(lambda name, found: _add(names, name, found))
        if len(names) > MOST:
            raise DataError(
                f"{path} holds more than {MOST:,} datasets: name one, --images NAME --labels NAME"
            )
        found = {
            name: Dataset(str(path), f"/{name}", file[name].shape, file[name].dtype) for name in sorted(names)
        }
        cut = _cut(found, file.attrs["split"]) if "split" in file.attrs else {}
    yield from (cut or found).items()


def _cut(found: dict[str, Dataset], table: object) -> dict[str, Dataset]:
    """Return the parts of datasets that the attribute `split` names, as Fuel's files have it; {} if it is another one.

    table: rows of split, source (a dataset), start and stop, which hold for all datasets of the same length
    """
    parts = {}
    fields = {"split", "source", "start", "stop"}
    if not isinstance(table, np.ndarray) or not fields <= set(table.dtype.names or ()):
        return {}
    for row in table[:MOST]:
        whole, start, stop = found.get(_text(row["source"])), int(row["start"]), int(row["stop"])
        if whole is None or not whole.shape or not 0 <= start < stop <= whole.shape[0]:
            return {}
        for name, each in found.items():
            if each.shape[:1] == whole.shape[:1]:
                shape = (stop - start, *each.shape[1:])
                parts[f"{_text(row['split'])}/{name}"] = replace(each, shape=shape, rows=(start, stop))
    return parts


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _add(names: list[str], name: str, found: h5py.HLObject) -> bool | None:
    """Add the name of a dataset with a shape; return True if there are too many."""
    if not isinstance(name, str):
        raise DataError(
            f"{found.file.filename} holds a name that is not text in UTF-8: create the file again"
        )
    if isinstance(found, h5py.Dataset) and found.shape is not None:
        names.append(name)
    return True if len(names) > MOST else None


def problem_of(item: tuple[str, str]) -> str | None:
    """Read a dataset and forget it; return what is wrong with it, or None. This is what the other process calls."""
    path, name = item
    try:
        with h5py.File(path, "r", locking=False) as file:
            found = find_dataset(file, name)
            if prod(found.shape) * found.dtype.itemsize > MEMORY_LIMIT:
                return f"it has more than {MEMORY_LIMIT >> 30} GiB, the limit"
            if found.dtype.hasobject and found.id.get_storage_size() > TEXT_LIMIT:
                return "it holds too much text"
            for start in range(0, len(found) if found.shape else 0, 1024):
                found[start : start + 1024]
    except Exception as error:  # whatever HDF5 and NumPy raise
        return " ".join(str(error).split())[:200] or type(error).__name__
    return None
