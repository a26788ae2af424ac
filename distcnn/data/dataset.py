"""A dataset: streamed, or in memory, with one read-only copy per node, which all ranks of the node share."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from distcnn.config.types import AUTO, STREAM
from distcnn.data.classes import numbered
from distcnn.data.fingerprint import REMEDY, digest, seal
from distcnn.data.hdf5_file import DIGITS, open_hdf5
from distcnn.data.mode import mode_of
from distcnn.data.schema import Schema, label_value_problem, pixel_value_problem, schema_of
from distcnn.data.split import move_to_end, validation_mask
from distcnn.data.splits import Dataset, Split
from distcnn.data.stream.loading import Described, load_streamed
from distcnn.data.stream.source import Part
from distcnn.errors import DataError
from distcnn.parallel.collective import on_all, on_root
from distcnn.parallel.shared_memory import share

if TYPE_CHECKING:
    from distcnn.parallel.comm import Comm

DIGEST = "sha256"  # the name of the shared array that contains the fingerprint

Arrays = dict[str, np.ndarray]  # by name: "train/images", ...
Fields = dict[str, tuple[tuple[int, ...], np.dtype]]  # shape and type, by name


def load(
    path: str | Path | None, comm: Comm, validation: float = 0.0, seed: int = 0, mode: str = AUTO
) -> Dataset:
    """Read and check a dataset on all ranks of `comm` together.

    path: the HDF5 file; None for the handwritten digits that come with distcnn.
    comm: the communicator; the function is collective.
    validation: the fraction of the training samples that becomes the validation split.
    seed: determines which samples these are.
    mode: MEMORY, STREAM or AUTO, which streams only what has more than MEMORY_LIMIT bytes.

    Raises the same DataError on every rank.
    """
    path = DIGITS if path is None else Path(path)
    schema = on_root(comm, _read_schema, path)
    if mode_of(mode, schema.image_bytes) == STREAM:
        return load_streamed(_described(path, schema), comm, validation, seed)
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


def _described(path: Path, schema: Schema) -> Described:
    """Return what stream mode needs to know of a file."""
    parts = {split: [Part(path, f"{split}/images")] for split in schema.images}
    shape, labels = schema.images["train"][1:], partial(_read_labels, path, schema)
    return Described(path.stem, path, parts, shape, schema.dtype, labels, schema.classes, schema.seal)


def _read_labels(path: Path, schema: Schema, split: str) -> np.ndarray:
    """Return the labels of a split, int32 [n], and check their values."""
    with open_hdf5(path) as file:
        values = file[split]["labels"][:]
    _raise(path, label_value_problem(f"/{split}/labels", values, schema.classes))
    return values.astype(np.int32)


def _fields(schema: Schema) -> Fields:
    """Return the shape and type of all arrays that the ranks of a node share, by name."""
    fields: Fields = {DIGEST: ((32,), np.dtype(np.uint8))}
    for split, shape in schema.images.items():
        fields[f"{split}/images"] = (shape, np.dtype(schema.dtype))
        fields[f"{split}/labels"] = (shape[:1], np.dtype(np.int32))
    return fields


def _fill(path: Path, schema: Schema, mask: np.ndarray, *shared: np.ndarray) -> None:
    """Read the file into the shared arrays of a node, and move the samples of the validation split to the end.

    path: the file.
    schema: the types and shapes in the file.
    mask: bool [n], True for each training sample that belongs to the validation split.
    shared: the arrays, in the order of `_fields`.
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
        problem = "samples or classes have changed since the file was sealed"
        raise DataError(f"{path}: {problem}: {REMEDY}, seal of /train")
    return found


def _cut(split: Split, count: int) -> tuple[Split, Split | None]:
    """Split off the last `count` samples: return the other samples, and these, or None if the count is 0."""
    rest = len(split.labels) - count
    cut = Split(split.images[rest:], split.labels[rest:]) if count else None
    return Split(split.images[:rest], split.labels[:rest]), cut


def _raise(path: Path, problem: str | None) -> None:
    if problem:
        raise DataError(f"{path}: {problem}")


def _check_same_file(path: Path, seen: list) -> None:
    """Raise DataError if the file is not the same on all nodes, or has changed while it was read."""
    if any(each != seen[0] for each in seen):
        remedy = "put one copy where all nodes can read it"
        raise DataError(f"{path} differs between nodes, or is being written: {remedy}")
