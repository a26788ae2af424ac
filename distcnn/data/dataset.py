"""A dataset in memory: one read-only copy per node, which all ranks of the node share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from distcnn.data.classes import numbered
from distcnn.data.describe import describe
from distcnn.data.description import Description
from distcnn.data.fingerprint import REMEDY, digest, seal
from distcnn.data.hdf5_file import DIGITS
from distcnn.data.picture_record import text_of
from distcnn.data.reading import read_split
from distcnn.data.split import move_to_end, test_mask, validation_mask
from distcnn.data.wanted import Wanted, files_of
from distcnn.errors import DataError
from distcnn.parallel.collective import on_all, on_root
from distcnn.parallel.shared_memory import share

if TYPE_CHECKING:
    from distcnn.parallel.comm import Comm

DIGEST = "sha256"  # the name of the shared array that contains the fingerprint

Arrays = dict[str, np.ndarray]  # by name: "train/images", ...
Fields = dict[str, tuple[tuple[int, ...], np.dtype]]  # shape and type, by name


@dataclass(frozen=True)
class Split:
    """Samples for one purpose: training, validation or test."""

    images: np.ndarray  # uint8 or float32 [n, c, h, w]
    labels: np.ndarray  # int32 [n]


@dataclass(frozen=True)
class Dataset:
    """All samples of a dataset."""

    name: str
    fingerprint: str  # SHA-256, in hex, over all arrays: name, type, shape, values
    classes: tuple[str, ...]
    train: Split
    test: Split | None
    validation: Split | None = None
    pixels: str | None = None  # the stored type that says what pixels mean; None: that of the images
    description: Description | None = None  # the files that hold it; None: it was made in memory
    pictures: str = ""  # how image files became these images, see `picture_record`

    @property
    def scale(self) -> str:
        """The name of the type that says what the values of pixels mean, such as "uint8", "float32" or "uint16"."""
        return self.pixels or self.train.images.dtype.name


@dataclass(frozen=True)
class Fractions:
    """The fractions of the training samples that become other splits.

    validation: of those that are left for training, to the validation split.
    test: of all, to the test split.
    seed: determines which samples these are.
    """

    validation: float = 0.0
    test: float = 0.0
    seed: int = 0

    def masks(self, n: int) -> list[np.ndarray]:
        """Return which samples to cut off, first for the test split, then for the validation split from the others."""
        test = test_mask(n, self.test, self.seed)
        return [test, validation_mask(n - int(test.sum()), self.validation, self.seed)]


def load(
    data: str | Path | Sequence[str] | None,
    comm: Comm,
    validation: float = 0.0,
    seed: int = 0,
    test: float = 0.0,
    wanted: Wanted | None = None,
) -> Dataset:
    """Read and check a dataset on all ranks of `comm` together.

    data: the HDF5 file, or several; None for the handwritten digits that come with distcnn.
    comm: the communicator; the function is collective.
    validation: the fraction of the training samples that becomes the validation split.
    seed: determines which samples these are.
    test: the fraction of the training samples that becomes the test split.
    wanted: which arrays of the files hold what; None: they are found.

    Raises the same DataError on every rank.
    """
    wanted = wanted or Wanted()
    files = on_root(comm, file_names, data, wanted)
    found = on_root(comm, describe, files, wanted)
    fractions = Fractions(validation, test, seed)
    on_all(comm, _check_fractions, found, fractions)
    masks = on_all(comm, fractions.masks, len(found.splits["train"]))
    fields = _fields(found)
    shared = share(comm, list(fields.values()), partial(_fill, found, wanted, masks))
    arrays = dict(zip(fields, shared, strict=True))
    fingerprint = arrays[DIGEST].tobytes().hex()
    on_all(comm, _check_same_file, files[0], comm.allgather(fingerprint))
    splits = {name: Split(arrays[f"{name}/images"], arrays[f"{name}/labels"]) for name in _trained(found)}
    named = found.coding.classes if found.coding else None
    classes = named or numbered(split.labels for split in splits.values())
    for name, mask in zip(("test", "validation"), masks, strict=True):
        splits["train"], cut = _cut(splits["train"], int(mask.sum()))
        splits |= {name: cut} if cut else {}
    name, scale = Path(found.first.file).stem, found.first.scale
    three = splits["train"], splits.get("test"), splits.get("validation")
    pictures = on_root(comm, text_of, files[0])
    return Dataset(name, fingerprint, classes, *three, scale, found, pictures)


def file_names(data: str | Path | Sequence[str] | None, wanted: Wanted) -> tuple[str, ...]:
    """Return the paths of the files of a dataset; see `load`."""
    if data is None and not wanted.names_arrays:
        return (str(DIGITS),)
    words = [str(data)] if isinstance(data, (str, Path)) else [str(each) for each in data or ()]
    return files_of(words, wanted)


def _check_fractions(found: Description, fractions: Fractions) -> None:
    """Raise DataError if a split is to be cut off that the files have."""
    for split, fraction in (("test", fractions.test), ("validation", fractions.validation)):
        if fraction and split in _trained(found):
            images = found.splits[split].images[0]
            raise DataError(
                f"{images.file}: {images.path} is the {split} split; leave --{split}-split out, or name the training "
                f"images alone, with --images and --labels"
            )


def _trained(found: Description) -> list[str]:
    """Return the names of the splits that have labels, with which training and evaluation work."""
    return [name for name, split in found.splits.items() if split.labels]


def _fields(found: Description) -> Fields:
    """Return the shape and type of all arrays that the ranks of a node share, by name."""
    fields: Fields = {DIGEST: ((32,), np.dtype(np.uint8))}
    for name in _trained(found):
        n = len(found.splits[name])
        fields[f"{name}/images"] = ((n, *found.first.image), np.dtype(found.first.becomes))
        fields[f"{name}/labels"] = ((n,), np.dtype(np.int32))
    return fields


def _fill(found: Description, wanted: Wanted, masks: list[np.ndarray], *shared: np.ndarray) -> None:
    """Read the files into the shared arrays of a node, and move samples for other splits to the end.

    found: the Description that rank 0 has made.
    wanted: what the user says of the files.
    masks: for each split that is cut off, which of the samples then left in the training split belong to it, bool [n].
    shared: the arrays, in the order of `_fields`.
    """
    arrays = dict(zip(_fields(found), shared, strict=True))
    fingerprint = arrays.pop(DIGEST)
    fingerprint[:] = np.frombuffer(_read(found, wanted, arrays), np.uint8)
    for kind in ("images", "labels"):
        left = arrays[f"train/{kind}"]
        for mask in masks:
            move_to_end(left, mask)
            left = left[: len(left) - int(mask.sum())]


def _read(found: Description, wanted: Wanted, arrays: Arrays) -> bytes:
    """Read the files into arrays, check every value, and return the fingerprint."""
    _check_same_file(found.files[0], [found, describe(found.files, wanted)])
    for name in _trained(found):
        read_split(found, name, arrays[f"{name}/images"], arrays[f"{name}/labels"])
    total = digest(arrays)
    if found.seal not in (None, seal(total.hex(), found.coding.classes if found.coding else None)):
        problem = "samples or classes have changed since the file was sealed"
        raise DataError(f"{found.files[0]}: {problem}: {REMEDY}, seal of /train")
    return total


def _cut(split: Split, count: int) -> tuple[Split, Split | None]:
    """Split off the last `count` samples: return the other samples, and these, or None if the count is 0."""
    rest = len(split.labels) - count
    cut = Split(split.images[rest:], split.labels[rest:]) if count else None
    return Split(split.images[:rest], split.labels[:rest]), cut


def _check_same_file(path: str, seen: list) -> None:
    """Raise DataError if the file is not the same on all nodes, or has changed while it was read."""
    if any(each != seen[0] for each in seen):
        remedy = "put one copy where all nodes can read it"
        raise DataError(f"{path} differs between nodes, or is being written: {remedy}")
