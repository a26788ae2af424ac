"""Find an array in an HDF5 file, and make sure that the file itself holds all of it."""

from math import prod

import h5py

from distcnn.errors import DataError

CHUNK_LIMIT = 2**26  # bytes of a chunk, decoded


def find_dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """Return the dataset of that name; raise DataError unless this file holds it whole and it can be read.

    name: an absolute path, such as "/train/images"
    """
    found = file
    for step in name.strip("/").split("/"):
        found = _member(file, found, step, name)
    if not isinstance(found, h5py.Dataset):
        raise DataError(f"{name} is a group; wanted a dataset")
    if found.is_virtual or found.external:
        raise DataError(f"{name} takes its data from other files: store a copy of it here, images[:] in h5py")
    _check_filters(name, found)
    _check_complete(name, found)
    return found


def _member(file: h5py.File, group: h5py.HLObject, step: str, name: str) -> h5py.HLObject:
    """Return the member `step` of a group, which lies in the same file; name: the whole path, for messages."""
    if not isinstance(group, h5py.Group):
        raise DataError(f"{group.name} is no group; wanted a group that holds images and labels")
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
            raise DataError(
                f"{name} needs the HDF5 filter {title}, which is missing here: repack with h5repack -f GZIP=4"
            )


def _check_complete(name: str, dataset: h5py.Dataset) -> None:
    """Raise DataError unless all samples were written."""
    stored = dataset.id.get_storage_size()
    if dataset.size and not stored:
        raise DataError(f"{name} was created but never written: make the file anew")
    if not dataset.chunks:
        complete = stored >= dataset.nbytes
    elif prod(dataset.chunks) * dataset.dtype.itemsize > max(CHUNK_LIMIT, dataset.nbytes):
        raise DataError(
            f"{name} has chunks of {dataset.chunks}, more than it holds: repack with h5repack -f GZIP=4"
        )
    else:
        chunks = (-(-size // chunk) for size, chunk in zip(dataset.shape, dataset.chunks, strict=True))
        complete = dataset.id.get_num_chunks() == prod(chunks)
    if not complete:
        raise DataError(f"{name} was never written to its end, or is damaged: make the file anew")
