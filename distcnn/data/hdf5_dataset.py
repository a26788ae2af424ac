"""Find a dataset in an HDF5 file, and check that all of its data lie in this file."""

from math import prod

import h5py

from distcnn.errors import DataError

CHUNK_LIMIT = 2**26  # bytes of a decoded chunk
_REMEDY = "create the file again"


def find_dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """Return a dataset; raise DataError unless all of its data lie in this file and can be read.

    file: the file.
    name: an absolute path, such as "/train/images".
    """
    found = file
    for step in name.strip("/").split("/"):
        found = _member(file, found, step, name)
    if not isinstance(found, h5py.Dataset):
        raise DataError(f"{name} is a group; wanted a dataset")
    if found.is_virtual or found.external:
        remedy = "store a copy of the data here, images[:] in h5py"
        raise DataError(f"{name} refers to data in other files: {remedy}")
    _check_filters(name, found)
    _check_complete(name, found)
    return found


def _member(file: h5py.File, group: h5py.HLObject, step: str, name: str) -> h5py.HLObject:
    """Return a member of a group; raise DataError unless it exists and lies in the same file.

    file: the file.
    group: the object that should be the group.
    step: the name of the member.
    name: the whole path, for messages.
    """
    if not isinstance(group, h5py.Group):
        raise DataError(f"{group.name} is not a group; wanted a group that holds images and labels")
    link = group.get(step, getlink=True)
    if link is None:
        members = ", ".join(map(str, list(group)[:8])) or "nothing"  # str: of bytes where it is not UTF-8
        raise DataError(f"{name} is missing: {group.name} holds {members}")
    found = None if isinstance(link, h5py.ExternalLink) else group.get(step)
    if found is None or found.file.filename != file.filename:
        raise DataError(f"{name} is a link to another file or to nothing: store the data in its place")
    return found


def _check_filters(name: str, dataset: h5py.Dataset) -> None:
    """Raise DataError if a filter that the dataset was written with is not installed here."""
    storage = dataset.id.get_create_plist()
    for code, _, _, title in map(storage.get_filter, range(storage.get_nfilters())):
        if not h5py.h5z.filter_avail(code):
            title = title.decode(errors="replace") or f"number {code}"
            remedy = "repack with h5repack -f GZIP=4"
            raise DataError(f"{name} needs the HDF5 filter {title}, which is not installed here: {remedy}")


def _check_complete(name: str, dataset: h5py.Dataset) -> None:
    """Raise DataError unless all samples were written."""
    stored = dataset.id.get_storage_size()
    if dataset.size and not stored:
        raise DataError(f"{name} was created but never written: {_REMEDY}")
    if not dataset.chunks:
        complete = stored >= dataset.nbytes
    elif prod(dataset.chunks) * dataset.dtype.itemsize > max(CHUNK_LIMIT, dataset.nbytes):
        problem = f"{name} has chunks of {dataset.chunks}, larger than the dataset"
        raise DataError(f"{problem}: repack with h5repack -f GZIP=4")
    else:
        chunks = (-(-size // chunk) for size, chunk in zip(dataset.shape, dataset.chunks, strict=True))
        complete = dataset.id.get_num_chunks() == prod(chunks)
    if not complete:
        raise DataError(f"{name} was not written completely, or is damaged: {_REMEDY}")
