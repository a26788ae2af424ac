"""Images to predict: a split of a dataset, with or without labels, or the images of a file without splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distcnn.config.types import AUTO, STREAM
from distcnn.data.description import Description, SplitArrays
from distcnn.data.expected import Expected
from distcnn.data.file_states import States, states_on, unchanged
from distcnn.data.hdf5_dataset import find_dataset
from distcnn.data.hdf5_file import open_hdf5
from distcnn.data.mode import mode_of
from distcnn.data.reading import fill_labels, read_split
from distcnn.data.stream.images import StreamedImages
from distcnn.data.stream.source import parts_of
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
    labels: np.ndarray | None  # [n] or [n, outputs], as the task says
    classes: tuple[str, ...] | None  # the names of classes, labels or targets in the file
    name: str  # the name of the file, for messages
    split: str  # "test", "train", ..., or "images" where the file has no splits
    scale: str  # the name of the type that says what pixels mean, such as "uint8"
    names: tuple[str, ...] | None = None  # of the images, if they have any


def load_images(
    data: str | Path | Sequence[str] | None,
    comm: Comm,
    split: str | None = None,
    expected: Expected | None = None,
    mode: str = AUTO,
) -> Images:
    """Read and check images on all ranks of `comm` together.

    data: the HDF5 file, or several; None for the handwritten digits that come with distcnn.
    comm: the communicator; the function is collective.
    split: the name of a split; None for the test split, or for the images of a file without splits.
    expected: what the net that predicts says of the images.
    mode: MEMORY, STREAM or AUTO; what does not fit into memory is streamed in any mode.

    Raises the same DataError on every rank.
    """
    found, split = on_root(comm, _inspect, data, split, expected or Expected())
    arrays = found.splits["train" if split == BARE else split]
    size = sum(each.nbytes for each in arrays.images)
    read = _stream if STREAM in (mode, mode_of(AUTO, size)) else _read
    images, labels = read(comm, found, arrays)
    classes = found.coding.classes if found.coding else None
    return Images(images, labels, classes, Path(found.files[0]).stem, split, arrays.images[0].scale)


def _read(comm: Comm, found: Description, arrays: SplitArrays) -> tuple[Any, np.ndarray | None]:
    """Return the images of the only split of a description, and its labels, if it has any, in memory. Collective."""
    first = arrays.images[0]
    fields: list[tuple[tuple[int, ...], np.dtype]]
    fields = [((len(arrays), *first.image), np.dtype(first.becomes))]
    if found.coding and arrays.labels:
        fields.append(found.coding.array(len(arrays)))
    states = states_on(comm.rank, found.states)
    shared = share(comm, fields, partial(_fill, found, states))
    return shared[0], shared[1] if len(shared) > 1 else None


def _stream(comm: Comm, found: Description, arrays: SplitArrays) -> tuple[Any, np.ndarray | None]:
    """Do the same as `_read`, but leave the images in their files. Collective."""
    states = states_on(comm.rank, found.states)
    images = on_all(comm, _opened, arrays, states)
    if images.dtype.kind == "f":
        survey(images, comm)  # checks every pixel
    if not (found.coding and arrays.labels):
        return images, None
    fields = [found.coding.array(len(arrays))]
    return images, share(comm, fields, partial(_fill_labels, found, states))[0]


def _opened(arrays: SplitArrays, states: States) -> StreamedImages:
    """Return the images of a split, which stay in the files; states: of these, when they were looked at."""
    first = arrays.images[0]
    with unchanged(states):
        return StreamedImages.of_parts(parts_of(arrays.images), first.image, np.dtype(first.becomes))


def _inspect(
    data: str | Path | Sequence[str] | None, split: str | None, expected: Expected
) -> tuple[Description, str]:
    """Return the description of the data and the split to predict; raise DataError if there is no such split."""
    _, found = expected.way(data, lambda found: bool(_default(found, split, expected)))
    name = _default(found, split, expected)
    if not name:
        raise DataError(f"{found.files[0]}: {_missing(found.files[0], split)}")
    chosen = "train" if name == BARE else name
    return replace(found, splits={chosen: found.splits[chosen]}), name


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


def _default(found: Description, split: str | None, expected: Expected) -> str:
    """Return the split to predict, "" if there is none such."""
    if split:
        return split if split in found.splits else ""
    if "test" in found.splits:
        return "test"
    return BARE if expected.is_bare(found) else ""


def _fill(found: Description, states: States, images: np.ndarray, labels: np.ndarray | None = None) -> None:
    """Read the files into the shared arrays of a node, and check every value."""
    with unchanged(states):
        read_split(found, next(iter(found.splits)), images, labels)


def _fill_labels(found: Description, states: States, labels: np.ndarray) -> None:
    """Read the labels alone into the shared array of a node, and check every value."""
    with unchanged(states):
        fill_labels(found, next(iter(found.splits)), labels)
