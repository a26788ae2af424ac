"""Images to predict: a split of a dataset file, with or without labels, or `/images` of an HDF5 file without splits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from distcnn.config.types import AUTO, STREAM
from distcnn.data.classes import class_names
from distcnn.data.hdf5_dataset import find_dataset
from distcnn.data.hdf5_file import DIGITS, open_hdf5
from distcnn.data.mode import mode_of
from distcnn.data.schema import (
    dataset_problems,
    label_value_problem,
    pixel_value_problem,
    type_of,
    with_channels,
)
from distcnn.data.stream.images import StreamedImages
from distcnn.data.stream.source import Part
from distcnn.data.stream.survey import survey
from distcnn.errors import DataError
from distcnn.parallel.collective import on_all, on_root
from distcnn.parallel.shared_memory import share

if TYPE_CHECKING:
    from distcnn.parallel.comm import Comm

BARE = "images"  # stands for the split where a file has none


@dataclass(frozen=True)
class Images:
    """Images to predict."""

    images: Any  # uint8 or float32 [n, c, h, w]: an array, or a StreamedImages
    labels: np.ndarray | None  # int32 [n]
    classes: tuple[str, ...] | None  # the names in the file
    name: str  # the name of the file, for messages
    split: str  # "test", "train", ..., or "images" where the file has no splits


@dataclass(frozen=True)
class _Found:
    """The names, shapes and types of the arrays in the file."""

    split: str
    names: tuple[str, ...]  # of the images, and of the labels, if they are there
    shape: tuple[int, ...]
    dtype: str
    classes: tuple[str, ...] | None


def load_images(path: str | Path | None, comm: Comm, split: str | None = None, mode: str = AUTO) -> Images:
    """Read and check a file's images on all ranks of `comm` together.

    path: the HDF5 file; None for the handwritten digits that come with distcnn.
    comm: the communicator; the function is collective.
    split: the name of a group in the file; None for /test, or for /images in a file without /test.
    mode: MEMORY, STREAM or AUTO; what does not fit into memory is streamed in any mode.

    Raises the same DataError on every rank.
    """
    path = DIGITS if path is None else Path(path)
    found = on_root(comm, _inspect, path, split)
    shape, dtype = with_channels(found.shape), np.dtype(found.dtype)
    fields = [(shape, dtype), (found.shape[:1], np.dtype(np.int32))]
    if STREAM in (mode, mode_of(AUTO, prod(shape) * dtype.itemsize)):
        parts = [Part(path, found.names[0].strip("/"))]
        images: Any = on_all(comm, StreamedImages.of_parts, parts, shape[1:], dtype)
        if dtype.kind == "f":
            survey(images, comm)  # checks every pixel
        labels = share(comm, fields[1 : len(found.names)], partial(_fill, path, found, None))
    else:
        images, *labels = share(comm, fields[: len(found.names)], partial(_fill, path, found))
    return Images(images, labels[0] if labels else None, found.classes, path.stem, found.split)


def _inspect(path: Path, split: str | None) -> _Found:
    """Return the names, shapes and types in the file; raise DataError if they are not what prediction needs."""
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
    return found


def _default(file: h5py.File) -> str:
    """Return the split to use if the user names none."""
    return BARE if BARE in file and "test" not in file else "test"


def _fill(path: Path, found: _Found, images: np.ndarray | None, labels: np.ndarray | None = None) -> None:
    """Read the file into the shared arrays of a node, as far as there are any, and check every value."""
    problem = None
    with open_hdf5(path) as file:
        if images is not None:
            file[found.names[0]].read_direct(images.reshape(found.shape))
            problem = pixel_value_problem(found.names[0], images)
        if labels is not None and not problem:
            values = file[found.names[1]][:]
            problem = label_value_problem(found.names[1], values, found.classes)
            labels[:] = values if not problem else 0
    if problem:
        raise DataError(f"{path}: {problem}")
