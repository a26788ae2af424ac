"""Datasets that lie plainly in the bytes of one HDF5 file: checkpoints hold no others, so no others are read.

HDF5 follows a file's wish to read other files (external and virtual storage, external links), to allocate what a
shape asks for, and to run filters. A checkpoint's checksum says that it is whole, not who made it.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import h5py

TEXT_PLACE = np.dtype(
    [("length", "<u4"), ("address", "<u8"), ("index", "<u4")]
)  # how HDF5 stores a text of any length


def members(group: h5py.Group) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    """Yield name and object of all members of a group; ValueError for a link to elsewhere."""
    for name in group:
        yield name, member(group, name)


def member(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
    """Return a member of a group; ValueError for a link to elsewhere, and for a dataset that does not lie plainly."""
    import h5py

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name} is missing, or a link to elsewhere")
    found = group[name]
    if isinstance(found, h5py.Dataset):
        _require_plain(found)
    elif not isinstance(found, h5py.Group):
        raise ValueError(f"{name} is neither a group nor a dataset")
    return found


def size(dataset: h5py.Dataset) -> int:
    """Return how many bytes a dataset has by its shape, which may be any."""
    return prod(dataset.shape) * dataset.id.get_type().get_size()


def texts(dataset: h5py.Dataset, image: bytes) -> tuple[str, ...]:
    """Return a list of texts; ValueError if they have more bytes together than the file's image.

    Several entries of the list can point to one text in the file, which would be read as often.
    """
    count = dataset.shape[0] if len(dataset.shape) == 1 else -1
    if count < 0 or (count and dataset.id.get_storage_size() != count * TEXT_PLACE.itemsize):
        raise ValueError(f"{dataset.name} is not a list of texts")
    if count == 0:
        return ()
    places = np.frombuffer(image, TEXT_PLACE, count, dataset.id.get_offset())
    if int(places["length"].sum(dtype=np.uint64)) > len(image):
        raise ValueError(f"{dataset.name} has more bytes than the file, the limit")
    return tuple(dataset.asstr(errors="surrogateescape")[()])


def attribute(file: h5py.File, name: str, limit: int) -> Any:
    """Return an attribute; ValueError if it has more than `limit` bytes by its shape."""
    found = file.attrs.get_id(name)
    if prod(found.shape) * found.get_type().get_size() > limit:
        raise ValueError(f"the attribute {name} has more bytes than the file, the limit")
    return file.attrs[name]


def _require_plain(dataset: h5py.Dataset) -> None:
    """Raise ValueError unless a dataset is one piece of this file, as it is, or empty."""
    from h5py import h5d

    name, storage = dataset.name, dataset.id.get_create_plist()
    if dataset.shape is None or storage.get_layout() != h5d.CONTIGUOUS or storage.get_external_count():
        raise ValueError(f"{name} is not stored in one piece in this file")
    if storage.get_nfilters():
        raise ValueError(f"{name} is stored through filters")
    if size(dataset) > dataset.id.get_storage_size() or (size(dataset) and dataset.id.get_offset() is None):
        raise ValueError(f"{name} is not stored to its end")
