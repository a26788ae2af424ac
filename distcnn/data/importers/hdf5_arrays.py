"""The datasets of any HDF5 file, with those of MATLAB 7.3, which another process reads first, as HDF5 may crash."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import h5py
import numpy as np

from distcnn.data.chunk_checks import read_all
from distcnn.data.classes import class_names
from distcnn.data.hdf5_dataset import find_dataset
from distcnn.data.hdf5_file import open_hdf5
from distcnn.data.hdf5_virtual import check_sources
from distcnn.data.schema import MEMORY_LIMIT
from distcnn.data.survey import Rows, split_table
from distcnn.errors import DataError
from distcnn.system.process_pool import Crashed, in_processes

MAGIC = b"\x89HDF\r\n\x1a\n"
USER_BLOCKS = (0, 512, 1024, 2048, 4096)  # offsets at which an HDF5 file may begin, behind MATLAB's header
MOST = 10_000  # datasets of a file
AGAIN = "create the file again"
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
            problem = f"reading it crashes HDF5 ({problem.signal}), or takes too long: {AGAIN}"
        if problem:
            raise DataError(f"{self.file}: {self.path}: {problem}")
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


def datasets(path: Path, stack: ExitStack, named: Sequence[str] = ()) -> Iterator[tuple[str, Dataset]]:
    """Yield (path, dataset) of all datasets in a file that can be read; of very many, only those that are named."""
    with open_hdf5(path) as file:
        names: list[str] = []
        file.visititems(lambda name, found: _add(names, name, found))
        if len(names) > MOST:
            names.clear()
            ends = tuple(f"/{name.rpartition(':')[2].strip('/')}" for name in named)
            file.visititems(lambda name, found: _add(names, name, found, ends))
            if not 0 < len(names) <= MOST:
                remedy = "name two of them, --images NAME --labels NAME"
                raise DataError(f"{path} holds more than {MOST:,} datasets: {remedy}")
        found = {
            name: Dataset(str(path), f"/{name}", file[name].shape, file[name].dtype) for name in sorted(names)
        }
        parts = _cut(found, _table(path, file))
    yield from (parts or found).items()


def in_place(path: str | Path) -> str:
    """Return what to do with a file that is too large for an import."""
    if str(path).lower().endswith(".mat"):
        return "import fewer samples"
    return (
        f"it needs none: name it with --data when you train, or use python -m distcnn.data pack {path} OUT.h5"
    )


def _table(path: Path, file: h5py.File) -> list[Rows]:
    """Return the rows of the attribute `split`; raise DataError, with a remedy of imports, if it is not understood."""
    try:
        return split_table(file)
    except DataError as error:
        problem = str(error).partition(":")[0]
        remedy = f"name rows for python -m distcnn.data pack {path} OUT.h5, --images /NAME[0:9] --labels /NAME[0:9]"
        raise DataError(f"{path}: {problem}: {remedy}") from None


def _cut(found: dict[str, Dataset], table: Sequence[Rows]) -> dict[str, Dataset]:
    """Return the parts of datasets that the attribute `split` names, as Fuel's files have it; {} if there is none.

    table: its rows, which hold for all datasets of the same length
    """
    parts = {}
    for row in table:
        whole = found.get(row.path.strip("/"))
        if whole is None or not whole.shape or not 0 <= row.start < row.stop <= whole.shape[0]:
            return {}
        for name, each in found.items():
            if each.shape[:1] == whole.shape[:1]:
                shape = (row.stop - row.start, *each.shape[1:])
                parts[f"{row.split}/{name}"] = replace(each, shape=shape, rows=(row.start, row.stop))
    return parts


def _add(names: list[str], name: str, found: h5py.HLObject, ends: tuple[str, ...] = ("",)) -> bool | None:
    """Add the name of a dataset with a shape, if it ends in one of `ends`; return True if there are too many."""
    if not isinstance(name, str):
        raise DataError(
            f"{found.file.filename} holds a name that is not text in UTF-8: create the file again"
        )
    if isinstance(found, h5py.Dataset) and found.shape is not None and f"/{name}".endswith(ends):
        names.append(name)
    return True if len(names) > MOST else None


def problem_of(item: tuple[str, str]) -> str | None:
    """Read a dataset and forget it; return what is wrong with it, or None. This is what the other process calls."""
    path, name = item
    try:
        with h5py.File(path, "r", locking=False, rdcc_nbytes=0) as file:
            found = find_dataset(file, name)
            if prod(found.shape) * found.dtype.itemsize > MEMORY_LIMIT:
                return f"it has more than {MEMORY_LIMIT >> 30} GiB, the limit of an import: {in_place(path)}"
            if found.dtype.hasobject and found.id.get_storage_size() > TEXT_LIMIT:
                limit = f"more than {TEXT_LIMIT >> 20} MiB of text or encoded images, the limit"
                return f"it holds {limit}: import the images as files, each in the folder of its class"
            if found.shape:
                read_all(found, 1024)
    except Exception as error:  # whatever HDF5 and NumPy raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        return reason if isinstance(error, DataError) else f"{reason}: {AGAIN}"
    return None
