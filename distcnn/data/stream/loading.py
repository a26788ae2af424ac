"""Open a dataset to be streamed: its labels lie in memory, once per node, and its images stay in the file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from distcnn.config.types import STREAM
from distcnn.data.classes import numbered
from distcnn.data.fingerprint import REMEDY, Piecewise, digest_of, seal
from distcnn.data.hdf5_file import open_hdf5
from distcnn.data.schema import Schema, label_value_problem
from distcnn.data.split import move_to_end
from distcnn.data.splits import Dataset, Split
from distcnn.data.stream import notes
from distcnn.data.stream.images import StreamedImages
from distcnn.data.stream.source import Part
from distcnn.data.stream.survey import DIGEST, Survey, statistics, survey
from distcnn.data.stream.units import Units, split_off
from distcnn.errors import DataError
from distcnn.parallel.collective import on_all, on_root
from distcnn.parallel.comm import Comm
from distcnn.parallel.shared_memory import share

Images = dict[str, StreamedImages]  # by split, as they lie in the file


def load_streamed(path: Path, schema: Schema, comm: Comm, validation: float, seed: int) -> Dataset:
    """Return a dataset whose images are streamed. Collective.

    The fingerprint also covers the sizes of the units, as the order of samples depends on them.

    path: the file.
    schema: of the file.
    validation: the fraction of the training samples that becomes the validation split.
    seed: determines which samples these are.

    Raises the same DataError on every rank.
    """
    images = {split: on_all(comm, _open, path, schema, split) for split in schema.images}
    training, held_out = on_all(comm, split_off, images["train"].units, validation, seed)
    labels, file_digest = _labels(path, schema, comm, held_out)
    surveys = {split: survey(each, comm) for split, each in images.items()}
    on_root(comm, _check_seal, path, schema, images)
    fingerprint, means = on_root(comm, _summary, images, surveys, training, file_digest)
    source, count = images["train"].source, training.rows
    train = Split(StreamedImages(source, training), labels["train"][:count])
    test = Split(images["test"], labels["test"]) if "test" in images else None
    rest = Split(StreamedImages(source, held_out), labels["train"][count:]) if held_out else None
    classes = schema.classes or numbered(labels.values())
    return Dataset(path.stem, fingerprint, classes, train, test, rest, STREAM, means)


def _open(path: Path, schema: Schema, split: str) -> StreamedImages:
    """Open the images of a split."""
    parts = [Part(path, f"{split}/images")]
    return StreamedImages.of_parts(parts, schema.images[split][1:], np.dtype(schema.dtype))


def _labels(
    path: Path, schema: Schema, comm: Comm, held_out: Units | None
) -> tuple[dict[str, np.ndarray], bytes]:
    """Return the labels of each split, those for validation last, and a SHA-256 of all labels of the file. Collective.

    held_out: the units of the validation split, or None.
    """
    fields: list[tuple] = [((DIGEST,), np.dtype(np.uint8))]
    fields += [(shape[:1], np.dtype(np.int32)) for shape in schema.images.values()]
    file_digest, *labels = share(comm, fields, partial(_fill, path, schema, held_out))
    on_all(comm, _check_same_file, path, comm.allgather(file_digest.tobytes()))
    return dict(zip(schema.images, labels, strict=True)), file_digest.tobytes()


def _fill(
    path: Path, schema: Schema, held_out: Units | None, file_digest: np.ndarray, *labels: np.ndarray
) -> None:
    """Read the labels of all splits into the shared arrays of a node, and check their values."""
    total = hashlib.sha256()
    with open_hdf5(path) as file:
        for split, array in zip(schema.images, labels, strict=True):
            values = file[split]["labels"][:]
            problem = label_value_problem(f"/{split}/labels", values, schema.classes)
            if problem:
                raise DataError(f"{path}: {problem}")
            array[:] = values
            total.update(np.ascontiguousarray(array, "<i4").data)
    file_digest[:] = np.frombuffer(total.digest(), np.uint8)
    if held_out:
        move_to_end(labels[0], _mask(len(labels[0]), held_out))


def _mask(n: int, units: Units) -> np.ndarray:
    """Return which of n rows belong to some units, bool [n]."""
    mask = np.zeros(n, bool)
    for start, size in zip(*units, strict=True):
        mask[start : start + size] = True
    return mask


def _summary(
    images: Images, surveys: dict[str, Survey], training: Units, file_digest: bytes
) -> tuple[str, tuple[np.ndarray, np.ndarray]]:
    """Return the fingerprint of the dataset, and mean and standard deviation of each channel of the training split.

    surveys: of each split.
    training: the units of the training split.
    file_digest: of the labels.
    """
    total = hashlib.sha256(file_digest)
    for split, each in images.items():
        total.update(f"{split} {each.dtype.name} {each.shape}\n".encode())
        total.update(np.ascontiguousarray(each.units.size, "<i8").data)
        total.update(surveys[split].digests.data)
    return total.hexdigest(), statistics(surveys["train"], images["train"], training)


def _check_seal(path: Path, schema: Schema, images: Images) -> None:
    """Raise DataError if the file has a seal and is not as it was then; this reads the file in its order, once."""
    key = notes.key_of([path], schema)
    if schema.seal is None or notes.read(key):
        return
    with open_hdf5(path) as file:
        found = digest_of(piece for split in images for piece in _pieces(file, split, images[split]))
    if schema.seal != seal(found.hex(), schema.classes):
        problem = "samples or classes have changed since the file was sealed"
        raise DataError(f"{path}: {problem}: {REMEDY}, seal of /train")
    notes.write(key, b"as sealed")


def _pieces(file: h5py.File, split: str, images: StreamedImages) -> Iterator[Piecewise]:
    """Yield the images and the labels of a split as `digest_of` takes them."""
    yield f"{split}/images", images.dtype, images.shape, images.in_order()
    labels = file[split]["labels"][:].astype(np.int32)
    yield f"{split}/labels", labels.dtype, labels.shape, [labels]


def _check_same_file(path: Path, seen: list[bytes]) -> None:
    """Raise DataError if the labels are not the same on all nodes."""
    if any(each != seen[0] for each in seen):
        remedy = "put one copy where all nodes can read it"
        raise DataError(f"{path} differs between nodes, or is being written: {remedy}")
