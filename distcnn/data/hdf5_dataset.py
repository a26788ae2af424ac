"""Find a dataset in an HDF5 file, and check that its data are there and can be read."""

from __future__ import annotations

from math import prod

import h5py

from distcnn.data.hdf5_links import followed
from distcnn.data.survey import OBJECTS, TEXT, type_of
from distcnn.errors import DataError

CHUNK_LIMIT = 2**26  # bytes of a decoded chunk
_REMEDY = "create the file again"


def find_dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """Return a dataset; raise DataError unless it lies in this file and its data can be read.

    The data of a virtual dataset lie elsewhere: `hdf5_virtual.check_sources` looks at them.

    file: the file.
    name: an absolute path, such as "/train/images".
    """
    other, path = followed(file, name)
    if other is not None:
        raise DataError(f"{name} is a link to another file, {other}: name that file")
    found = file[path]
    if not isinstance(found, h5py.Dataset):
        raise DataError(f"{name} is a group; wanted a dataset")
    if found.external:
        remedy = "store a copy of the data here, images[:] in h5py"
        raise DataError(f"{name} refers to data in other files that are not HDF5: {remedy}")
    if not found.is_virtual:
        _check_filters(name, found)
        _check_complete(name, found)
    return found


def found_dataset(file: h5py.File, name: str) -> h5py.Dataset | None:
    """Return a dataset as `find_dataset` does, or None if there is none with this name, or not in this file."""
    try:
        return find_dataset(file, name)
    except DataError:
        return None


def is_packed(dataset: h5py.Dataset) -> bool:
    """Return whether the samples of a dataset pass a filter of HDF5, such as gzip, when they are read."""
    return bool(dataset.chunks and dataset.shape and dataset.id.get_create_plist().get_nfilters())


def is_intricate(dataset: h5py.Dataset) -> bool:
    """Return whether samples are not just numbers that lie one after the other: they are in chunks, or are text."""
    lie_here = dataset.shape and not dataset.is_virtual
    return bool(lie_here and (dataset.chunks or type_of(dataset) in (TEXT, OBJECTS)))


def _check_filters(name: str, dataset: h5py.Dataset) -> None:
    """Raise DataError if a filter that the dataset was written with is not installed here."""
    storage = dataset.id.get_create_plist()
    for code, _, _, title in map(storage.get_filter, range(storage.get_nfilters())):
        if not h5py.h5z.filter_avail(code) and not _plugin_has(code):
            title = " ".join(title.decode(errors="replace").partition(";")[0].split()) or f"number {code}"
            remedy = "pip install hdf5plugin, or repack with h5repack -f GZIP=4 where it is installed"
            raise DataError(f"{name} needs the HDF5 filter {title}, which is not installed here: {remedy}")


def _plugin_has(code: int) -> bool:
    """Return whether hdf5plugin, where it is installed, brings a filter; it is imported only where a file needs it."""
    try:
        import hdf5plugin  # noqa: F401, it registers its filters
    except ImportError:
        return False
    return h5py.h5z.filter_avail(code)


def _check_complete(name: str, dataset: h5py.Dataset) -> None:
    """Raise DataError unless all samples were written."""
    stored = dataset.id.get_storage_size()
    if dataset.size and not stored:
        raise DataError(f"{name} was created but never written: {_REMEDY}")
    if not dataset.chunks:
        complete = stored >= dataset.nbytes
    elif prod(dataset.chunks) * dataset.dtype.itemsize > max(CHUNK_LIMIT, dataset.nbytes):
        problem = f"{name} has chunks of {dataset.chunks}, larger than the dataset"
        raise DataError(f"{problem}: create it again with smaller ones")
    else:
        chunks = (-(-size // chunk) for size, chunk in zip(dataset.shape, dataset.chunks, strict=True))
        complete = dataset.id.get_num_chunks() == prod(chunks)
    if not complete:
        raise DataError(f"{name} was not written completely, or is damaged: {_REMEDY}")
