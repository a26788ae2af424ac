"""Open a dataset to be streamed: its labels lie in memory, once per node, and its images stay in the file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from distcnn.config.types import STREAM
from distcnn.data.classes import numbered
from distcnn.data.file_states import States, unchanged
from distcnn.data.fingerprint import REMEDY, Piecewise, digest_of, seal
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

Images = dict[str, StreamedImages]  # by split, as they lie in the files


@dataclass(frozen=True)
class Described:
    """What is known of a dataset before it is streamed.

    name: of the dataset.
    path: of its file, or of the first of several, for messages.
    parts: the datasets of images of each split, by its name; "train" comes first.
    shape: (c, h, w) of an image.
    dtype: of the images, uint8 or float32.
    labels: labels(split) reads the labels of a split, [n] or [n, outputs], and raises DataError if one is not valid.
    label_array: label_array(n) returns the shape and the type of the labels of n samples.
    states: of the files, when they were looked at.
    classes: the names of the classes, or None to number them.
    seal: of the file, or None.
    """

    name: str
    path: Path
    parts: dict[str, list[Part]]
    shape: tuple[int, ...]
    dtype: str
    labels: Callable[[str], np.ndarray]
    label_array: Callable[[int], tuple[tuple[int, ...], np.dtype]]
    states: States
    classes: tuple[str, ...] | None = None
    seal: str | None = None


def load_streamed(found: Described, comm: Comm, validation: float, seed: int) -> Dataset:
    """Return a dataset whose images are streamed. Collective.

    The fingerprint also covers the sizes of the units, as the order of samples depends on them.

    found: the same on all ranks.
    validation: the fraction of the training samples that becomes the validation split.
    seed: determines which samples these are.

    Raises the same DataError on every rank.
    """
    images = on_all(comm, _open, found)
    training, held_out = on_all(comm, split_off, images["train"].units, validation, seed)
    labels, file_digest = _labels(found, images, comm, held_out)
    surveys = {split: survey(each, comm) for split, each in images.items()}
    on_root(comm, _check_seal, found, images)
    fingerprint, means = on_root(comm, _summary, images, surveys, training, file_digest)
    source, count = images["train"].source, training.rows
    train_rows = training.numbers if held_out else None
    train = Split(StreamedImages(source, training), labels["train"][:count], train_rows)
    test = Split(images["test"], labels["test"]) if "test" in images else None
    rest = Split(images["validation"], labels["validation"]) if "validation" in images else None
    if held_out:
        rest = Split(StreamedImages(source, held_out), labels["train"][count:], held_out.numbers)
    classes = found.classes or numbered(labels.values())
    return Dataset(found.name, fingerprint, classes, train, test, rest, STREAM, means)


def _open(found: Described) -> Images:
    """Open the images of all splits."""
    dtype = np.dtype(found.dtype)
    with unchanged(found.states):
        opened = [StreamedImages.of_parts(parts, found.shape, dtype) for parts in found.parts.values()]
    return dict(zip(found.parts, opened, strict=True))


def _labels(
    found: Described, images: Images, comm: Comm, held_out: Units | None
) -> tuple[dict[str, np.ndarray], bytes]:
    """Return the labels of each split, those for validation last, and a SHA-256 of all in the file. Collective.

    held_out: the units of the validation split, or None.
    """
    fields: list[tuple] = [((DIGEST,), np.dtype(np.uint8))]
    fields += [found.label_array(len(each)) for each in images.values()]
    file_digest, *labels = share(comm, fields, partial(_fill, found, held_out))
    on_all(comm, _check_same_file, found.path, comm.allgather(file_digest.tobytes()))
    return dict(zip(images, labels, strict=True)), file_digest.tobytes()


def _fill(found: Described, held_out: Units | None, file_digest: np.ndarray, *labels: np.ndarray) -> None:
    """Read the labels of all splits into the shared arrays of a node."""
    total = hashlib.sha256()
    for split, array in zip(found.parts, labels, strict=True):
        with unchanged(found.states):
            array[:] = found.labels(split)
        total.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data)
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


def _check_seal(found: Described, images: Images) -> None:
    """Raise DataError if the file has a seal and is not as it was then; this reads the file in its order, once."""
    key = notes.key_of([found.path], found.seal, found.classes)
    if found.seal is None or notes.read(key):
        return
    total = digest_of(piece for split in images for piece in _pieces(found, split, images[split]))
    if found.seal != seal(total.hex(), found.classes):
        problem = "samples or classes have changed since the file was sealed"
        raise DataError(f"{found.path}: {problem}: {REMEDY}, seal of /train")
    notes.write(key, b"as sealed")


def _pieces(found: Described, split: str, images: StreamedImages) -> Iterator[Piecewise]:
    """Yield the images and the labels of a split as `digest_of` takes them."""
    yield f"{split}/images", images.dtype, images.shape, images.in_order()
    labels = found.labels(split)
    yield f"{split}/labels", labels.dtype, labels.shape, [labels]


def _check_same_file(path: Path, seen: list[bytes]) -> None:
    """Raise DataError if the labels are not the same on all nodes."""
    if any(each != seen[0] for each in seen):
        remedy = "put one copy where all nodes can read it"
        raise DataError(f"{path} differs between nodes, or is being written: {remedy}")
