"""Find out what is to be packed: HDF5 files that training reads in place, or any source that `data import` reads."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from functools import partial

import h5py
import numpy as np

from distcnn.config.types import CLASSIFY
from distcnn.data.contents import candidates
from distcnn.data.dataset import file_names
from distcnn.data.describe import describe
from distcnn.data.hdf5_dataset import is_packed
from distcnn.data.hdf5_file import open_hdf5
from distcnn.data.importers.writer import Samples, check_classes, seal_of
from distcnn.data.names import IMAGES, KEPT_ATTRIBUTES
from distcnn.data.packing.content import Content, FileRows, MemoryRows
from distcnn.data.reading import labels_of
from distcnn.data.survey import OBJECTS, TEXT
from distcnn.data.wanted import Wanted
from distcnn.errors import DataError


def are_hdf5(words: Sequence[str]) -> bool:
    """Return whether sources are HDF5 files that training reads, and not a source to import.

    Raises DataError for several sources of which one is not an HDF5 file.
    """
    if len(words) == 1:
        word = words[0]
        return glob.has_magic(word) or not os.path.exists(word) or _is_read_in_place(word)
    for word in words:
        if os.path.exists(word) and not _is_read_in_place(word):
            remedy = f"pack {word} on its own"
            raise DataError(
                f"{word} is not an HDF5 file as training reads it, and there are other sources: {remedy}"
            )
    return True


def _is_read_in_place(path: str) -> bool:
    """Return whether a source is an HDF5 file, but not of MATLAB, nor of images that are encoded one by one."""
    if not os.path.isfile(path) or path.lower().endswith(".mat") or not h5py.is_hdf5(path):
        return False
    images = [each for each in candidates(path, has_names=True) if each.kind == IMAGES]
    encoded = [each for each in images if each.found.dtype in (TEXT, OBJECTS)]
    return not encoded or len(encoded) < len(images)


def content_of_files(words: Sequence[str], wanted: Wanted) -> Content:
    """Return what HDF5 files hold, as training understands them; raise DataError if it could not train on them.

    words: the files as the user names them, or patterns.
    wanted: what the user says of their arrays.
    """
    found = describe(file_names(words, wanted), wanted)
    splits = {
        name: (FileRows(split.images), partial(labels_of, found, name) if split.labels else None)
        for name, split in found.splits.items()
    }
    classes, task = (found.coding.classes, found.coding.task) if found.coding else (None, CLASSIFY)
    arrays = [each for split in found.splits.values() for each in split.images]
    is_costly = any(not each.is_plain or _is_packed(each.file, each.path) for each in arrays)
    known = _attributes(found.files[0])
    return Content(splits, classes, known, found.seal, found.states, is_costly, found.notes, task)


def content_of_samples(samples: Samples) -> Content:
    """Return what an import has read."""
    check_classes(samples.classes)
    splits = {
        name: (MemoryRows(images), None if labels is None else partial(np.asarray, labels))
        for name, (images, labels) in samples.splits.items()
    }
    return Content(splits, samples.classes, samples.attributes, seal_of(samples), task=samples.task)


def _attributes(path: str) -> dict[str, str]:
    """Return what a file says of how its images were made."""
    with open_hdf5(path) as file:
        known = {name: file.attrs[name] for name in KEPT_ATTRIBUTES if name in file.attrs}
    return {name: text for name, text in known.items() if isinstance(text, str)}


def _is_packed(path: str, name: str) -> bool:
    with open_hdf5(path) as file:
        return is_packed(file[name])
