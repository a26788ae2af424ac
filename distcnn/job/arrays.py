"""Arrays in memory as the file of a dataset, so that they are checked, understood and read as any other file is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from distcnn.data.description import SPLITS
from distcnn.data.fingerprint import digest
from distcnn.data.hdf5_file import trusted
from distcnn.errors import DataError, OutputError, UserError
from distcnn.parallel.collective import mark_collective, on_all, on_root
from distcnn.parallel.comm import Comm
from distcnn.parallel.node import node
from distcnn.system.temporary_folder import same_folder, temporary_folder

FILE = "arrays.h5"
NAMES = {split: (f"x_{split}", f"y_{split}") for split in SPLITS}

Pair = Sequence[Any]  # images and labels


def is_pair(data: Any) -> bool:
    """Return whether data are arrays (x, y), and not the path of a file or a list of paths."""
    return isinstance(data, list | tuple) and not all(isinstance(each, str | Path) for each in data)


@contextmanager
def written(comm: Comm, pairs: Mapping[str, Pair]) -> Iterator[str]:
    """Write arrays into a temporary file on every node, yield its path, and remove it after the block. Collective.

    pairs: images and labels by the name of the split, the same on every rank.

    Raises DataError on every rank if they are no arrays, or differ between ranks.
    """
    arrays = on_all(comm, _named, pairs)
    _require_alike(comm, arrays)
    here = node(comm)
    with ExitStack() as folders:
        folder = on_root(comm, _made, folders)
        on_all(comm, _same, folders, folder if here.first and comm.rank else None)
        path = f"{folder}/{FILE}"
        on_all(comm, _write, path, arrays if here.first else {})
        folders.enter_context(trusted(path))
        try:
            yield path
        except UserError as error:
            error.args = (str(error).replace(path, "the arrays"),)
            raise


def _made(folders: ExitStack) -> str:
    """Return a temporary folder, which the stack removes."""
    try:
        return str(folders.enter_context(temporary_folder()))
    except OSError as error:
        raise OutputError(f"no temporary folder: {error.strerror}; name one by TMPDIR") from None


def _same(folders: ExitStack, folder: str | None) -> None:
    """Make the folder of the first node on this one, too."""
    try:
        if folder:
            folders.enter_context(same_folder(folder))
    except OSError as error:
        what = f"{folder}: cannot be made on this node: {error.strerror}"
        raise OutputError(f"{what}; name a folder by TMPDIR") from None


def _named(pairs: Mapping[str, Pair]) -> dict[str, np.ndarray]:
    """Return all arrays by their names in the file."""
    found = {}
    for split, pair in pairs.items():
        if len(pair) != 2:
            wanted = "wanted (x, y), images and labels, or paths of files"
            raise DataError(f"{split} data are {len(pair)} things; {wanted}")
        for name, values in zip(NAMES[split], pair, strict=True):
            found[name] = _array(name, values)
    return found


def _array(name: str, values: Any) -> np.ndarray:
    """Return values as an array of numbers or of bytes of UTF-8; raise DataError if they are neither."""
    try:
        array = np.asarray(values)
        if array.dtype.kind == "O":
            array = np.array(array.tolist())  # of Python's numbers, or of text
        if array.dtype.kind == "U":
            array = np.char.encode(array, "utf-8")
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{name} is no array: {' '.join(str(error).split())[:200]}") from None
    if array.dtype.kind not in "biufcS" or not array.ndim or not array.size:
        found = f"{name} is {array.dtype} of shape {array.shape}"
        raise DataError(f"{found}; wanted an array of numbers, with one or more samples")
    return array


def _require_alike(comm: Comm, arrays: dict[str, np.ndarray]) -> None:
    """Raise DataError on every rank if ranks have other arrays than rank 0. Collective."""
    if comm.size == 1:
        return
    found = comm.allgather(digest(arrays))
    other = next((rank for rank, each in enumerate(found) if each != found[0]), None)
    if other is not None:
        what = f"the arrays on rank {other} are not those on rank 0"
        raise mark_collective(DataError(f"{what}: read the same, or make them from one seed"))


def _write(path: str, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays into a file; write no file if there are none."""
    if not arrays:
        return
    try:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error}; name a folder with room by TMPDIR") from None
