"""Images to predict: a part of a dataset's file with or without labels, or the bare `/images` of any HDF5 file."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from distcnn.data.classes import class_names
from distcnn.data.hdf5_file import DIGITS, opened
from distcnn.data.schema import MEMORY_LIMIT, dataset_problems, find, type_of, with_channels
from distcnn.data.values import label_value_problem, pixel_value_problem
from distcnn.errors import DataError
from distcnn.parallel.collective import on_root
from distcnn.parallel.shared_memory import share


@dataclass(frozen=True)
class Images:
    """Images [n, c, h, w], their labels int32 [n] or None, the file's classes or None, and what they are called."""

    images: np.ndarray
    labels: np.ndarray | None
    classes: tuple[str, ...] | None
    name: str
    part: str  # "test", "train", or "images" where the file has no parts


@dataclass(frozen=True)
class _Found:
    """Names, shapes and types in the file."""

    part: str
    names: tuple[str, ...]  # of the images, and of the labels, if they are there
    shape: tuple[int, ...]
    dtype: str
    classes: tuple[str, ...] | None


def load_images(path: str | Path | None, comm, part: str | None = None) -> Images:
    """Read and check a file's images on all ranks together: of `part`, else of /test, else the bare /images.

    Raises DataError, the same on every rank.
    """
    path = DIGITS if path is None else Path(path)
    found = on_root(comm, partial(_inspect, path, part))
    fields = [(with_channels(found.shape), found.dtype), (found.shape[:1], np.int32)]
    arrays = share(comm, fields[: len(found.names)], partial(_fill, path, found))
    labels = arrays[1] if len(arrays) > 1 else None
    return Images(arrays[0], labels, found.classes, path.stem, found.part)


def _inspect(path: Path, part: str | None) -> _Found:
    with opened(path) as file:
        part = part or _default(file)
        prefix = "" if part == "images" else f"/{part}"
        group = file.get(prefix or "/")
        if group is None:
            raise DataError(f"{path}: has no {prefix}; name another --split")
        names = (f"{prefix}/images", *([f"{prefix}/labels"] if "labels" in group else []))
        arrays = [find(file, name) for name in names]
        problems = [each for pair in zip(names, arrays, strict=True) for each in dataset_problems(*pair)]
        if len({array.shape[:1] for array in arrays}) > 1:
            problems.append(f"{prefix} holds {len(arrays[0])} images and {len(arrays[1])} labels")
        if arrays[0].nbytes > MEMORY_LIMIT:
            problems.append(f"{names[0]} has {arrays[0].nbytes / 2**30:.1f} GiB; at most 4 GiB: cut it")
        for problem in problems:
            raise DataError(f"{path}: {' '.join(problem.split())}")
        return _Found(part, names, arrays[0].shape, type_of(arrays[0]), class_names(file))


def _default(file) -> str:
    """Return the part that is meant where none is named."""
    if "images" in file and "test" not in file:
        return "images"
    return "test"


def _fill(path: Path, found: _Found, images: np.ndarray, labels: np.ndarray | None = None) -> None:
    with opened(path) as file:
        file[found.names[0]].read_direct(images.reshape(found.shape))
        problem = pixel_value_problem(found.names[0], images)
        if labels is not None and not problem:
            values = file[found.names[1]][:]
            problem = label_value_problem(found.names[1], values, found.classes)
            labels[:] = values if not problem else 0
    if problem:
        raise DataError(f"{path}: {problem}")
