"""A dataset in memory: one copy per node, mapped by all its ranks, read-only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from distcnn.data.classes import numbered
from distcnn.data.fingerprint import REMEDY, digest, seal
from distcnn.data.hdf5_file import DIGITS, open_hdf5
from distcnn.data.schema import Schema, label_value_problem, pixel_value_problem, schema_of
from distcnn.data.split import move_to_end, validation_mask
from distcnn.errors import DataError
from distcnn.parallel.collective import on_all, on_root
from distcnn.parallel.shared_memory import share

if TYPE_CHECKING:
    from distcnn.parallel.comm import Comm

DIGEST = "sha256"  # the name of the array in which a node's ranks share the fingerprint

Arrays = dict[str, np.ndarray]  # by name: "train/images", ...
Fields = dict[str, tuple[tuple[int, ...], np.dtype]]  # shape and type, by name


@dataclass(frozen=True)
class Split:
    """Samples for one purpose: training, validation or test."""

    images: np.ndarray  # uint8 or float32 [n, c, h, w]
    labels: np.ndarray  # int32 [n]


@dataclass(frozen=True)
class Dataset:
    """All samples of a file."""

    name: str
    fingerprint: str  # SHA-256, in hex, over all arrays of the file: name, type, shape, values
    classes: tuple[str, ...]
    train: Split
    test: Split | None
    validation: Split | None = None


def load(path: str | Path | None, comm: Comm, validation: float = 0.0, seed: int = 0) -> Dataset:
    """Read and check a dataset on all ranks of `comm` together.

    path: of the HDF5 file; None: the handwritten digits that come with distcnn
    validation: the fraction of the training samples that becomes the validation split
    seed: chooses these samples

    Raises DataError, the same on every rank.
    """
    path = DIGITS if path is None else Path(path)
    schema = on_root(comm, _read_schema, path)
    fields = _fields(schema)
    mask = on_all(comm, validation_mask, schema.images["train"][0], validation, seed)
    shared = share(comm, list(fields.values()), partial(_fill, path, schema, mask))
    arrays = dict(zip(fields, shared, strict=True))
    fingerprint = arrays[DIGEST].tobytes().hex()
    on_all(comm, _check_same_file, path, comm.allgather(fingerprint))
    splits = {split: Split(arrays[f"{split}/images"], arrays[f"{split}/labels"]) for split in schema.images}
    classes = schema.classes or numbered(split.labels for split in splits.values())
    splits["train"], validation_split = _cut(splits["train"], int(mask.sum()))
    return Dataset(path.stem, fingerprint, classes, splits["train"], splits.get("test"), validation_split)


def _read_schema(path: Path) -> Schema:
    with open_hdf5(path) as file:
        return schema_of(file)


def _fields(schema: Schema) -> Fields:
    """Return shape and type of all arrays that a node's ranks share, by name."""
    fields: Fields = {DIGEST: ((32,), np.dtype(np.uint8))}
    for split, shape in schema.images.items():
        fields[f"{split}/images"] = (shape, np.dtype(schema.dtype))
        fields[f"{split}/labels"] = (shape[:1], np.dtype(np.int32))
    return fields


def _fill(path: Path, schema: Schema, mask: np.ndarray, *shared: np.ndarray) -> None:
    """Read the file into a node's shared arrays, with the samples of the validation split behind those of training.

    mask: bool [n], which training samples are for validation
    """
    arrays = dict(zip(_fields(schema), shared, strict=True))
    fingerprint = arrays.pop(DIGEST)
    fingerprint[:] = np.frombuffer(_read(path, schema, arrays), np.uint8)
    for kind in ("images", "labels"):
        move_to_end(arrays[f"train/{kind}"], mask)


def _read(path: Path, schema: Schema, arrays: Arrays) -> bytes:
    """Read the file into arrays, check every value, and return the fingerprint."""
    with open_hdf5(path) as file:
        _check_same_file(path, [schema, schema_of(file)])
        for split in schema.images:
            images, labels = f"{split}/images", f"{split}/labels"
            file[images].read_direct(arrays[images].reshape(file[images].shape))
            _raise(path, pixel_value_problem(f"/{images}", arrays[images]))
            values = file[labels][:]
            _raise(path, label_value_problem(f"/{labels}", values, schema.classes))
            arrays[labels][:] = values
    found = digest(arrays)
    if schema.seal not in (None, seal(found.hex(), schema.classes)):
        raise DataError(
            f"{path}: samples or classes are not those that were sealed: {REMEDY}, seal of /train"
        )
    return found


def _cut(split: Split, count: int) -> tuple[Split, Split | None]:
    """Return a split without its last `count` samples, and a split of these, or None if there are none."""
    rest = len(split.labels) - count
    cut = Split(split.images[rest:], split.labels[rest:]) if count else None
    return Split(split.images[:rest], split.labels[:rest]), cut


def _raise(path: Path, problem: str | None) -> None:
    if problem:
        raise DataError(f"{path}: {problem}")


def _check_same_file(path: Path, seen: list) -> None:
    """Raise DataError if the file is not the same on all nodes, or has changed while it was read."""
    if any(each != seen[0] for each in seen):
        raise DataError(
            f"{path} differs from node to node, or is being written: put one copy where all nodes see it"
        )
