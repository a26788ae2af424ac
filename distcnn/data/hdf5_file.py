"""Open the file of a dataset for reading, with a one-line message for everything that can be wrong with a file."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py

from distcnn.data.hdf5_dataset import found_dataset, is_intricate
from distcnn.data.sandbox import REMEDY, check_in_sandbox, require_unchanged
from distcnn.errors import DataError
from distcnn.system.open_files import is_limit

DIGITS = Path(__file__).with_name("digits.h5")  # the UCI handwritten digits, see datasets/README.md


_open: dict[str, h5py.File] = {}  # the files that are open, by their absolute paths
_trusted = {str(DIGITS)}  # the absolute paths of the files that are not checked


@contextmanager
def trusted(path: str) -> Iterator[None]:
    """Let a file that this process has written be opened without the check of what HDF5 makes of it, in the block."""
    _trusted.add(path)
    try:
        yield
    finally:
        _trusted.discard(path)


@contextmanager
def open_hdf5(path: str | Path, names: Sequence[str] = ()) -> Iterator[h5py.File]:
    """Open the file of a dataset; errors of HDF5, now and while the file is in use, become DataError.

    Every process opens the file separately, and without a lock, which network file systems often do not support. Within
    a block that has the file open, it is not opened again.

    path: the file.
    names: the paths of the datasets that will be read, besides those of distcnn's own layout.
    """
    key = os.path.abspath(path)
    if key not in _open:
        _check_readable(path)
    strange = key not in _trusted
    checked = check_in_sandbox(path) if strange and key not in _open else None
    try:
        with _opened(path, key) as file:
            _require_same(file, checked, path)
            found = {name: found_dataset(file, name) for name in names if strange}
            intricate = [
                name for name, dataset in found.items() if dataset is not None and is_intricate(dataset)
            ]
            if intricate:
                _require_same(file, check_in_sandbox(path, *intricate), path)
            yield file
    except (OSError, RuntimeError, KeyError) as error:  # h5py raises these for errors of HDF5
        _require_room(path, error)
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: truncated or damaged: {REMEDY} ({reason})") from error


def _require_room(path: str | Path, error: Exception) -> None:
    """Raise DataError if an error says that too many files are open."""
    if is_limit(error):
        remedy = "raise that limit (ulimit -n), or join some of the files"
        raise DataError(f"{path}: more files are needed at a time than may be open here: {remedy}") from error


def _require_same(file: h5py.File, checked: str | None, path: str | Path) -> None:
    """Raise DataError unless an open file is the one that was checked; checked: its identity, None to do nothing."""
    if checked and file.driver == "sec2":  # whose handle is a descriptor
        require_unchanged(file.id.get_vfd_handle(), checked, path)


@contextmanager
def _opened(path: str | Path, key: str) -> Iterator[h5py.File]:
    """Yield the open file at a path; key: its absolute path."""
    if key in _open:
        yield _open[key]
        return
    with h5py.File(path, "r", locking=False) as file:
        _open[key] = file
        try:
            yield file
        finally:
            del _open[key]


def _check_readable(path: str | Path) -> None:
    """Raise DataError unless there is an HDF5 file at this path."""
    if os.path.isdir(path):
        command = f"python -m distcnn.data import {path} OUT.h5"
        raise DataError(f"{path} is a folder; wanted an HDF5 file: if it holds images, {command} makes one")
    if os.path.exists(path) and not os.path.isfile(path):
        raise DataError(f"{path} is a device or a pipe; wanted a regular HDF5 file")
    try:
        with open(path, "rb") as file:
            empty = not file.read(1)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; wanted an HDF5 file: check the path") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        _require_room(path, error)
        raise DataError(f"{path} cannot be read: check its permissions ({error})") from error
    if empty:
        raise DataError(f"{path} is empty; wanted an HDF5 file: {REMEDY}")
    if not h5py.is_hdf5(path):
        remedy = "make one with python -m distcnn.data import, or with h5py"
        raise DataError(f"{path} is not an HDF5 file: {remedy}")
