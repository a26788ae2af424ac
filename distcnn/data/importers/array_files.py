"""Arrays in files: NumPy's .npy and .npz, MATLAB's .mat, HDF5. Nothing is unpickled."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from distcnn.data.importers import hdf5_arrays, mat5
from distcnn.data.importers.archive import files
from distcnn.data.importers.importer import Source
from distcnn.data.schema import MEMORY_LIMIT
from distcnn.errors import DataError

NPY, NPZ, MAT, HDF5 = ".npy", ".npz", ".mat", (".h5", ".hdf5", ".hdf", ".h5py")


@dataclass(frozen=True)
class Stored:
    """An array in a file.

    name: of the array, with that of its file in front of it
    read: returns the array; shape and dtype are known without it
    is_matlab: whether its axes are in the order of MATLAB, in which rows come first
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]
    is_matlab: bool = False


def is_array_file(name: str) -> bool:
    """Return whether a file of this name holds arrays."""
    last = name.rpartition("/")[2].lower()
    return last.endswith((NPY, NPZ, MAT, *HDF5)) and not last.startswith(".")


def stored_arrays(source: Source, stack: ExitStack, named: Sequence[str] = ()) -> Iterator[Stored]:
    """Yield the arrays in all files of a source.

    stack: keeps open what they are read from
    named: the names of arrays, of which files with very many need no others
    """
    for name in sorted(filter(is_array_file, source.names)):
        path = source.local_path(name)
        if path is not None and hdf5_arrays.is_hdf5(path):
            yield from _of_hdf5(name, path, stack, named)
            continue
        for _, content in files(source.path, name.__eq__, MEMORY_LIMIT):
            yield from _of_content(f"{source.path}: {name}", name, content, stack)


def _of_content(where: str, name: str, content: bytes, stack: ExitStack) -> Iterator[Stored]:
    """Yield the arrays in a file's content; where: the file, for messages."""
    lower = name.lower()
    if lower.endswith(NPY):
        yield _of_npy(where, name[: -len(NPY)], content)
    elif lower.endswith(NPZ):
        yield from _of_npz(where, name, content, stack)
    elif hdf5_arrays.is_hdf5_content(content):
        yield from _of_hdf5(name, _on_disk(content, "x.h5", stack), stack)
    elif lower.endswith(MAT):
        for variable, array in mat5.variables(where, content):
            yield _loaded(f"{name}/{variable}", array, is_matlab=True)
    else:
        raise DataError(f"{where} is not an HDF5 file: copy it again")


def _of_npz(where: str, name: str, content: bytes, stack: ExitStack) -> Iterator[Stored]:
    """Yield the arrays in an archive of NumPy in another archive or in a folder."""
    for member, inner in files(_on_disk(content, "x.npz", stack), is_array_file, MEMORY_LIMIT):
        yield from _of_content(f"{where}: {member}", f"{name}/{member}", inner, stack)


def _on_disk(content: bytes, name: str, stack: ExitStack) -> Path:
    """Write a file that lies in an archive to a temporary folder, which ends with the stack, and return its path."""
    path = Path(stack.enter_context(tempfile.TemporaryDirectory()), name)
    path.write_bytes(content)
    return path


def _of_npy(where: str, name: str, content: bytes) -> Stored:
    """Return the array in the content of an .npy file; its values are not copied."""
    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, is_turned, dtype = read(file)
    except Exception as error:  # on a false header, Python's parser raises exceptions of any kind
        reason = " ".join(str(error).split())[:100]
        raise DataError(f"{where} is not a file of NumPy ({reason}): save the array again") from None
    if dtype.hasobject:
        remedy = "save numbers or text, np.save(..., allow_pickle=False)"
        raise DataError(f"{where} holds Python objects, which are pickled and can run code: {remedy}")
    size, begin = prod(shape) * dtype.itemsize, file.tell()
    if len(content) - begin != size:
        found = f"{len(content) - begin} bytes of values, but its shape {shape} needs {size}"
        raise DataError(f"{where} has {found}: save the array again")
    array = np.frombuffer(content, dtype, offset=begin) if size else np.zeros(0, dtype)
    return _loaded(name, array.reshape(shape, order="F" if is_turned else "C"))


def _of_hdf5(name: str, path: Path, stack: ExitStack, named: Sequence[str] = ()) -> Iterator[Stored]:
    """Yield the arrays in an HDF5 file; those of MATLAB have their axes turned back."""
    is_matlab = name.lower().endswith(MAT)
    if classes := hdf5_arrays.class_attribute(path):
        yield _loaded(f"{name}/classes", np.array(classes))
    for inner, dataset in hdf5_arrays.datasets(path, stack, named):
        shape = dataset.shape[::-1] if is_matlab else dataset.shape

        def read(dataset: hdf5_arrays.Dataset = dataset) -> np.ndarray:
            found = dataset.read()
            return found.T if is_matlab else found

        yield Stored(f"{name}/{inner}", shape, dataset.dtype, read, is_matlab)


def _loaded(name: str, array: np.ndarray, is_matlab: bool = False) -> Stored:
    return Stored(name, array.shape, array.dtype, lambda: array, is_matlab)
