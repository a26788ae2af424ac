"""Images to predict: a split of a dataset file, with or without labels, or `/images` of an HDF5 file without splits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from distcnn.data.classes import class_names
from distcnn.data.hdf5_dataset import find_dataset
from distcnn.data.hdf5_file import DIGITS, open_hdf5
from distcnn.data.label_values import label_value_problem
from distcnn.data.schema import (
    MEMORY_LIMIT,
    dataset_problems,
    pixel_value_problem,
    type_of,
    with_channels,
)
from distcnn.errors import DataError
from distcnn.parallel.collective import on_root
from distcnn.parallel.shared_memory import share

if TYPE_CHECKING:
    from distcnn.parallel.comm import Comm

BARE = "images"  # stands for the split where a file has none


@dataclass(frozen=True)
class Images:
    """Images to predict."""

    images: np.ndarray  # uint8 or float32 [n, c, h, w]
    labels: np.ndarray | None  # int32 [n]
    classes: tuple[str, ...] | None  # the names in the file
    name: str  # the name of the file, for messages
    split: str  # "test", "train", ..., or "images" where the file has no splits
    names: tuple[str, ...] | None = None  # of the images, if they have any


@dataclass(frozen=True)
class _Found:
    """The names, shapes and types of the arrays in the file."""

    split: str
    names: tuple[str, ...]  # of the images, and of the labels, if they are there
    shape: tuple[int, ...]
    dtype: str
    classes: tuple[str, ...] | None


def load_images(path: str | Path | None, comm: Comm, split: str | None = None) -> Images:
    """Read and check a file's images on all ranks of `comm` together.

    path: the HDF5 file; None for the handwritten digits that come with distcnn.
    comm: the communicator; the function is collective.
    split: the name of a group in the file; None for /test, or for /images in a file without /test.

    Raises the same DataError on every rank.
    """
    path = DIGITS if path is None else Path(path)
    found = on_root(comm, _inspect, path, split)
    fields = [(with_channels(found.shape), found.dtype), (found.shape[:1], np.int32)]
    arrays = share(comm, fields[: len(found.names)], partial(_fill, path, found))
    labels = arrays[1] if len(arrays) > 1 else None
    return Images(arrays[0], labels, found.classes, path.stem, found.split)


def _inspect(path: Path, split: str | None) -> _Found:
    """Return the names, shapes and types in the file; raise DataError if its images cannot be read into memory."""
    with open_hdf5(path) as file:
        split = split or _default(file)
        prefix = "" if split == BARE else f"/{split}"
        group = file.get(prefix or "/")
        if group is None:
            raise DataError(f"{path}: has no {prefix}; choose another --split")
        names = (f"{prefix}/images", *([f"{prefix}/labels"] if "labels" in group else []))
        arrays = [find_dataset(file, name) for name in names]
        for problem in _problems(prefix, names, arrays):
            raise DataError(f"{path}: {' '.join(problem.split())}")
        return _Found(split, names, arrays[0].shape, type_of(arrays[0]), class_names(file))


def _problems(prefix: str, names: tuple[str, ...], arrays: list[h5py.Dataset]) -> list[str]:
    """Return what is wrong with the types and shapes of images and, if they are there, labels."""
    found = [problem for pair in zip(names, arrays, strict=True) for problem in dataset_problems(*pair)]
    if len({array.shape[:1] for array in arrays}) > 1:
        found.append(f"{prefix} holds {len(arrays[0])} images and {len(arrays[1])} labels")
    if arrays[0].nbytes > MEMORY_LIMIT:
        found.append(f"{names[0]} has {arrays[0].nbytes / 2**30:.1f} GiB; at most 4 GiB: cut it")
    return found


def _default(file: h5py.File) -> str:
    """Return the split to use if the user names none."""
    return BARE if BARE in file and "test" not in file else "test"


def _fill(path: Path, found: _Found, images: np.ndarray, labels: np.ndarray | None = None) -> None:
    """Read the file into the shared arrays of a node, and check every value."""
    with open_hdf5(path) as file:
        file[found.names[0]].read_direct(images.reshape(found.shape))
        problem = pixel_value_problem(found.names[0], images)
        if labels is not None and not problem:
            values = file[found.names[1]][:]
            problem = label_value_problem(found.names[1], values, found.classes)
            labels[:] = values if not problem else 0
    if problem:
        raise DataError(f"{path}: {problem}")
