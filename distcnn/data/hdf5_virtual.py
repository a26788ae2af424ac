"""Check the sources of a virtual dataset: HDF5 reads zeros, without an error, where a source is missing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from distcnn.data.file_states import States, state_of
from distcnn.data.hdf5_dataset import find_dataset
from distcnn.data.hdf5_file import open_hdf5
from distcnn.data.hdf5_links import followed, other_file
from distcnn.errors import DataError

DEPTH = 4  # sources may be virtual themselves
MOST = 2**14  # sources of a dataset
LONGEST = 2**28  # places along an axis that are counted
PREFIXES = "HDF5_VDS_PREFIX", "HDF5_EXT_PREFIX"  # with them HDF5 would look for sources elsewhere


def check_sources(file: h5py.File, dataset: h5py.Dataset, depth: int = DEPTH) -> States:
    """Raise DataError unless all sources of a virtual dataset exist, are complete, and fill it.

    Return the states of the other files in which they lie.

    file: the file that holds the dataset.
    depth: how many further levels of virtual sources are followed.
    """
    name = dataset.name
    prefix = next((each for each in PREFIXES if os.environ.get(each)), None)
    if prefix:
        raise DataError(f"{name} is virtual, and {prefix} is set, which leads to other files: unset it")
    if not depth:
        raise DataError(
            f"{name} is virtual, and so are its sources, more than {DEPTH} times: store a copy here"
        )
    if dataset.id.get_create_plist().get_virtual_count() > MOST:
        raise DataError(
            f"{name} has more than {MOST:,} virtual sources: store a copy here, images[:] in h5py"
        )
    sources = dataset.virtual_sources()
    _check_filled(name, dataset.shape, [source.vspace for source in sources])
    by_file: dict[str, dict[str, list]] = {}
    for source in sources:
        if "%" in source.file_name or "%" in source.dset_name:
            raise DataError(
                f"{name} has a virtual source with a pattern for a name: name each file on its own"
            )
        by_file.setdefault(source.file_name, {}).setdefault(source.dset_name, []).append(source)
    states: States = {}
    for target, arrays in by_file.items():
        if target == ".":
            states |= _check_arrays(file, name, arrays, depth)
            continue
        path = other_file(file, target, name)
        states[path] = state_of(path)
        with open_hdf5(path, tuple(arrays)) as other:
            states |= _check_arrays(other, name, arrays, depth)
    return states


def _check_arrays(file: h5py.File, name: str, arrays: dict[str, list], depth: int) -> States:
    """Raise DataError unless sources in a file are complete, and as large as the virtual dataset takes them to be.

    Return the states of the files in which the sources of those lie that are virtual themselves.

    arrays: by the path of the source, the parts of it that are used.
    """
    states: States = {}
    for path, parts in arrays.items():
        elsewhere, _ = followed(file, path)
        if elsewhere:
            raise DataError(
                f"{name} has a virtual source {path} that is a link to another file: name that file in it"
            )
        source = find_dataset(file, path)
        for part in parts:
            _check_covers(name, f"{file.filename}:{path}", source, part)
        if source.is_virtual:
            states |= check_sources(file, source, depth - 1)
    return states


def _check_covers(name: str, where: str, source: h5py.Dataset, part: Any) -> None:
    """Raise DataError unless a source has all that a virtual dataset takes from it.

    name: of the virtual dataset.
    where: the name of the source.
    part: what is taken, as `virtual_sources` of h5py gives it; a selection without axes is the whole source.
    """
    extent, shape = part.src_space.get_simple_extent_dims(), source.shape or ()
    if extent:
        covers = len(extent) == len(shape) and all(np.less(part.src_space.get_select_bounds()[1], shape))
    else:
        covers = np.prod(shape, dtype=object) == part.vspace.get_select_npoints()
    if not covers:
        found = f"{name} takes {part.vspace.get_select_npoints():,} values of {where}"
        raise DataError(f"{found}, which has shape {source.shape}, too small or another: create it again")


def _check_filled(name: str, shape: tuple[int, ...], spaces: list) -> None:
    """Raise DataError unless the selections fill a shape, each place once."""
    try:
        count = sum(space.get_select_npoints() for space in spaces)
    except RuntimeError:  # of HDF5, for a selection without an end
        found = f"{name} is virtual, and its sources have no fixed size"
        raise DataError(f"{found}: store a copy here, images[:] in h5py") from None
    if count != np.prod(shape, dtype=object):
        raise DataError(
            f"{name} is virtual, and its sources do not fill it, each place once: create it again"
        )
    low, high = np.array([space.get_select_bounds() for space in spaces]).swapaxes(0, 1)
    sizes = np.prod(high - low + 1, axis=1, dtype=object)
    are_boxes = all(size == space.get_select_npoints() for size, space in zip(sizes, spaces, strict=True))
    if _boxes_meet(low, high) if are_boxes else _combs_meet(name, shape, spaces):
        raise DataError(f"{name} is virtual, and its sources overlap: create it again")


def _boxes_meet(low: np.ndarray, high: np.ndarray) -> bool:
    """Return whether any two boxes have a place in common; low, high: their first and last places, [boxes, axes]."""
    order = np.argsort(low[:, 0], kind="stable")
    low, high = low[order], high[order]
    for k in range(len(low)):
        last = np.searchsorted(low[:, 0], high[k, 0], side="right")
        meets = (low[k + 1 : last] <= high[k]) & (high[k + 1 : last] >= low[k])
        if meets.all(axis=1).any():
            return True
    return False


def _combs_meet(name: str, shape: tuple[int, ...], spaces: list) -> bool:
    """Return whether any two selections, such as every other row, have a place in common.

    Together they have as many places as the shape, so this holds if and only if some place is in none of them. All of
    them must be whole along all axes but one, along which their places are then counted.
    """
    remedy = "store a copy here, images[:] in h5py"
    pieces = f"{name} is virtual, and its sources are neither blocks nor rows at equal distances: {remedy}"
    if not all(space.is_regular_hyperslab() for space in spaces):
        raise DataError(pieces)
    combs = [[Comb(*each) for each in zip(*space.get_regular_hyperslab(), strict=True)] for space in spaces]
    open_axes = [k for k, n in enumerate(shape) if any(comb[k].size != n for comb in combs)]
    if len(open_axes) != 1 or shape[open_axes[0]] > LONGEST:
        raise DataError(pieces)
    seen = np.zeros(shape[open_axes[0]], np.uint8)
    for comb in combs:
        comb[open_axes[0]].count(seen)
    return not seen.all()


@dataclass(frozen=True)
class Comb:
    """Equally spaced runs of places along an axis.

    start: the first place.
    step: from the beginning of a run to that of the next.
    runs: how many there are.
    length: of each.
    """

    start: int
    step: int
    runs: int
    length: int

    @property
    def size(self) -> int:
        """How many places there are."""
        return self.runs * self.length

    def count(self, seen: np.ndarray) -> None:
        """Add 1 to each of these places of `seen`."""
        if self.runs <= self.length:
            for k in range(self.start, self.start + self.runs * self.step, self.step):
                seen[k : k + self.length] += 1
            return
        for k in range(self.start, self.start + self.length):
            seen[k : k + (self.runs - 1) * self.step + 1 : self.step] += 1
