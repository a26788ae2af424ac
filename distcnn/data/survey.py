"""Which datasets an HDF5 file has, with their shapes and types; nothing of their values is read."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice

import h5py
import numpy as np

from distcnn.data.names import SPLIT_OF, Role, role_of
from distcnn.errors import DataError

MOST = 4096  # datasets and groups that are looked at
NAMED = 2**16  # names of a group, of which the usual ones are looked at first
TEXT, OBJECTS = "text", "objects"


@dataclass(frozen=True)
class Found:
    """A dataset of a file.

    path: its absolute path.
    shape: its shape; None for a dataset without data, and for a link, which is not followed here.
    dtype: the name of its type without the byte order, "text", or "objects" for what is no NumPy type of numbers.
    place: the path of the file and the address in it, by which a dataset that has several names is known.
    """

    path: str
    shape: tuple[int, ...] | None
    dtype: str
    place: tuple[str, int] | None = None

    @classmethod
    def of(cls, path: str, dataset: h5py.Dataset) -> Found:
        """Return what is found at a path."""
        return cls(path, dataset.shape, type_of(dataset), (dataset.file.filename, _address(dataset)))


def survey(file: h5py.File) -> list[Found]:
    """Return all datasets and links to elsewhere in a file, in order of their names, at most MOST."""
    found, seen, looked = [], {_address(file)}, 0
    groups: deque[tuple[str, h5py.Group]] = deque([("", file)])
    while groups and looked < MOST:
        path, group = groups.popleft()
        for name in sorted(islice(group, NAMED), key=_is_unusual):
            looked += 1
            if looked > MOST or not isinstance(name, str):
                continue
            whole = f"{path}/{name}"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                found.append(Found(whole, None, "link"))
                continue
            item = group.get(name)
            if isinstance(item, h5py.Dataset):
                found.append(Found.of(whole, item))
            elif isinstance(item, h5py.Group) and _address(item) not in seen:
                seen.add(_address(item))
                groups.append((whole, item))
    return sorted(found, key=lambda each: each.path)


def _is_unusual(name: object) -> bool:
    """Return whether a name says nothing of images, labels or splits: what it names is looked at last."""
    return not isinstance(name, str) or role_of(name) == Role(None, None)


def _address(item: h5py.HLObject) -> int:
    return h5py.h5o.get_info(item.id).addr


def type_of(dataset: h5py.Dataset) -> str:
    """Return the name of a dataset's type, without its byte order; "text" or "objects" if it is not of numbers."""
    try:
        dtype = dataset.dtype
        if h5py.check_string_dtype(dtype) or dtype.kind in "SU":
            return TEXT
        return dtype.name if dtype.kind in "uifbc" else OBJECTS
    except TypeError:
        return OBJECTS


@dataclass(frozen=True)
class Rows:
    """A line of the attribute `split`: the rows of a dataset that belong to a split."""

    split: str
    path: str
    start: int
    stop: int


def split_table(file: h5py.File) -> list[Rows]:
    """Return the rows in the attribute `split` of a file, as Fuel writes it; an empty list if it has none.

    Raises DataError if there is such an attribute that says something else.
    """
    if "split" not in file.attrs:
        return []
    shape = file.attrs.get_id("split").shape
    table = file.attrs["split"] if shape and len(shape) == 1 and 0 < shape[0] <= MOST else None
    fields = getattr(getattr(table, "dtype", None), "names", None) or ()
    if not {"split", "source", "start", "stop"} <= set(fields):
        return []
    rows = []
    for line in np.asarray(table):
        if "indices" in fields and line["indices"]:
            raise DataError(
                "the attribute split names rows one by one; wanted start and stop: say --images /path[0:9]"
            )
        split, source = _word(line["split"]), _word(line["source"])
        if "available" in fields and not line["available"]:
            continue
        rows.append(
            Rows(SPLIT_OF.get(split.lower(), split), f"/{source}", int(line["start"]), int(line["stop"]))
        )
    return rows


def _word(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
