"""Images to predict: a split of a dataset, with or without labels, or the images of a file without splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from distcnn.data.description import Description
from distcnn.data.expected import Expected
from distcnn.data.hdf5_dataset import find_dataset
from distcnn.data.hdf5_file import open_hdf5
from distcnn.data.names import role_of
from distcnn.data.reading import read_split
from distcnn.data.schema import MEMORY_LIMIT
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
    scale: str  # the name of the type that says what pixels mean, such as "uint8"
    names: tuple[str, ...] | None = None  # of the images, if they have any


def load_images(
    data: str | Path | Sequence[str] | None,
    comm: Comm,
    split: str | None = None,
    expected: Expected | None = None,
) -> Images:
    """Read and check images on all ranks of `comm` together.

    data: the HDF5 file, or several; None for the handwritten digits that come with distcnn.
    comm: the communicator; the function is collective.
    split: the name of a split; None for the test split, or for the images of a file without splits.
    expected: what the net that predicts says of the images.

    Raises the same DataError on every rank.
    """
    found, split = on_root(comm, _inspect, data, split, expected or Expected())
    arrays = found.splits["train" if split == BARE else split]
    fields = [((len(arrays), *arrays.images[0].image), arrays.images[0].becomes), ((len(arrays),), np.int32)]
    shared = share(comm, fields[: 1 + bool(arrays.labels)], partial(_fill, found, split))
    labels = shared[1] if len(shared) > 1 else None
    classes = found.coding.classes if found.coding else None
    return Images(shared[0], labels, classes, Path(found.files[0]).stem, split, arrays.images[0].scale)


def _inspect(
    data: str | Path | Sequence[str] | None, split: str | None, expected: Expected
) -> tuple[Description, str]:
    """Return the description of the data and the split to predict; raise DataError if there is no such split."""
    _, found = expected.way(data, lambda found: bool(_default(found, split)))
    name = _default(found, split)
    if not name:
        raise DataError(f"{found.files[0]}: {_missing(found.files[0], split)}")
    return _with_few(found, name), name


def _missing(path: str, split: str | None) -> str:
    """Return the message for a file without the images to predict."""
    with open_hdf5(path) as file:
        name = f"/{BARE}" if BARE in file and not split else f"/{split or 'test'}/images"
        try:
            find_dataset(file, name)
            problem = f"{name} has no images that can be predicted"
        except DataError as error:
            problem = str(error)
    return f"{problem}; choose another --split, or name the images with --images"


def _default(found: Description, split: str | None) -> str:
    """Return the split to predict, "" if there is none such."""
    if split:
        return split if split in found.splits else ""
    if "test" in found.splits:
        return "test"
    bare = "train" in found.splits and role_of(found.first.path).split is None
    return BARE if bare else ""


def _with_few(found: Description, split: str) -> Description:
    """Return the description of one split; raise DataError if its images cannot be read into memory."""
    name = "train" if split == BARE else split
    images = found.splits[name].images
    size = sum(each.nbytes for each in images)
    if size > MEMORY_LIMIT:
        raise DataError(
            f"{found.files[0]}: {images[0].path} has {size / 2**30:.1f} GiB; at most 4 GiB: cut it"
        )
    return replace(found, splits={name: found.splits[name]})


def _fill(found: Description, split: str, images: np.ndarray, labels: np.ndarray | None = None) -> None:
    """Read the files into the shared arrays of a node, and check every value."""
    read_split(found, "train" if split == BARE else split, images, labels)
