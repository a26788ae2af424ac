"""A dataset: streamed, or in memory, with one read-only copy per node, which all ranks of the node share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from distcnn.config.types import AUTO, CLASSIFY, STREAM
from distcnn.data.checks import empty_classes
from distcnn.data.classes import numbered
from distcnn.data.describe import describe
from distcnn.data.description import Description
from distcnn.data.file_states import states_on, unchanged
from distcnn.data.fingerprint import REMEDY, digest, seal
from distcnn.data.hdf5_file import DIGITS
from distcnn.data.label_values import NUMBERS
from distcnn.data.mode import mode_of
from distcnn.data.picture_record import text_of
from distcnn.data.reading import labels_of, read_split
from distcnn.data.split import move_to_end, test_mask, validation_mask
from distcnn.data.splits import Dataset, Split
from distcnn.data.stream.loading import Described, load_streamed
from distcnn.data.stream.source import parts_of
from distcnn.data.wanted import Wanted, files_of
from distcnn.errors import DataError
from distcnn.parallel.collective import on_all, on_root
from distcnn.parallel.shared_memory import share

if TYPE_CHECKING:
    from distcnn.parallel.comm import Comm

DIGEST = "sha256"  # the name of the shared array that contains the fingerprint

Arrays = dict[str, np.ndarray]  # by name: "train/images", ...
Look = Callable[[], Description]  # looks at files and describes them
Fields = dict[str, tuple[tuple[int, ...], np.dtype]]  # shape and type, by name


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

    def rows(self, n: int, split: str) -> np.ndarray:
        """Return which of `n` training samples of the files are in a split: their numbers, int64."""
        test, validation = self.masks(n)
        left = np.flatnonzero(~test)
        rows = {"test": np.flatnonzero(test), "validation": left[validation], "train": left[~validation]}
        return rows[split]


def load(
    data: str | Path | Sequence[str] | None,
    comm: Comm,
    validation: float = 0.0,
    seed: int = 0,
    test: float = 0.0,
    wanted: Wanted | None = None,
    mode: str = AUTO,
) -> Dataset:
    """Read and check a dataset on all ranks of `comm` together.

    data: the HDF5 file, or several; None for the handwritten digits that come with distcnn.
    comm: the communicator; the function is collective.
    validation: the fraction of the training samples that becomes the validation split.
    seed: determines which samples these are.
    test: the fraction of the training samples that becomes the test split.
    wanted: which arrays of the files hold what; None: they are found.
    mode: MEMORY, STREAM or AUTO, which streams only what has more than MEMORY_LIMIT bytes.

    Raises the same DataError on every rank.
    """
    wanted = wanted or Wanted()
    files = on_root(comm, file_names, data, wanted)
    return load_described(partial(describe, files, wanted), comm, Fractions(validation, test, seed), mode)


def load_described(look: Look, comm: Comm, fractions: Fractions, mode: str = AUTO) -> Dataset:
    """Read and check the dataset that a function describes, on all ranks of `comm` together; see `load`."""
    found = on_root(comm, look)
    on_all(comm, _check_fractions, found, fractions)
    if mode_of(mode, _image_bytes(found)) == STREAM:
        return _streamed(found, comm, fractions)
    samples = len(found.splits["train"])
    masks = on_all(comm, fractions.masks, samples)
    fields = _fields(found)
    shared = share(comm, list(fields.values()), partial(_fill, found, look, masks))
    arrays = dict(zip(fields, shared, strict=True))
    fingerprint = arrays[DIGEST].tobytes().hex()
    on_all(comm, _check_same_file, found.files[0], comm.allgather(fingerprint))
    splits = {name: Split(arrays[f"{name}/images"], arrays[f"{name}/labels"]) for name in _trained(found)}
    named = found.coding.classes if found.coding else None
    classes = named or numbered(split.labels for split in splits.values())
    for name, mask in zip(("test", "validation"), masks, strict=True):
        splits["train"], cut = _cut(splits["train"], int(mask.sum()))
        if cut:
            parts = {name: cut, "train": splits["train"]}
            splits |= {
                k: replace(part, rows=partial(fractions.rows, samples, k)) for k, part in parts.items()
            }
    name = Path(found.first.file).stem
    three = splits["train"], splits.get("test"), splits.get("validation")
    data_of_files = Dataset(name, fingerprint, classes, *three)
    return _with_origin(data_of_files, found, comm)


def _with_origin(data: Dataset, found: Description, comm: Comm) -> Dataset:
    """Return a dataset that knows where it comes from. Collective."""
    pictures = on_root(comm, text_of, found.files[0])
    coding = found.coding
    task = coding.task if coding else CLASSIFY
    if task == CLASSIFY:
        counts = np.bincount(data.train.labels, minlength=len(data.classes))
        more = empty_classes(counts, coding is not None and coding.kind == NUMBERS)
        found = replace(found, notes=(*found.notes, *more))
    return replace(data, pixels=found.first.scale, description=found, pictures=pictures, task=task)


def _streamed(found: Description, comm: Comm, fractions: Fractions) -> Dataset:
    """Return a dataset whose images stay in the files. Collective."""
    on_all(comm, _check_streamed, found, fractions)
    first, coding = found.first, found.coding
    parts = {name: parts_of(found.splits[name].images) for name in _trained(found)}
    name, path = Path(first.file).stem, Path(found.files[0])
    labels = partial(labels_of, found)
    assert coding is not None  # as the training split has labels
    images = first.image, first.becomes
    states = states_on(comm.rank, found.states)
    described = Described(
        name, path, parts, *images, labels, coding.array, states, coding.classes, found.seal
    )
    return _with_origin(load_streamed(described, comm, fractions.validation, fractions.seed), found, comm)


def _check_streamed(found: Description, fractions: Fractions) -> None:
    """Raise DataError if a test split is to be cut off images that are streamed."""
    if fractions.test:
        images, (labels, *_) = found.first, found.splits["train"].labels
        start, stop = images.start, images.stop
        cut = stop - max(1, int((stop - start) * fractions.test + 0.5))
        train = f"--images '{images.path}[{start}:{cut}]' --labels '{labels.path}[{start}:{cut}]'"
        test = f"--test-images '{images.path}[{cut}:{stop}]' --test-labels '{labels.path}[{cut}:{stop}]'"
        remedy = f"in place of --test-split, name the rows of both splits, such as {train} {test}"
        raise DataError(
            f"{images.file}: images that are streamed are not cut into training and test: {remedy}"
        )


def _image_bytes(found: Description) -> int:
    """Return the number of bytes that all images take in memory."""
    return sum(each.nbytes for name in _trained(found) for each in found.splits[name].images)


def file_names(data: str | Path | Sequence[str] | None, wanted: Wanted) -> tuple[str, ...]:
    """Return the paths of the files of a dataset; see `load`."""
    if data is None and not wanted.names_arrays:
        return (str(DIGITS),)
    words = [str(data)] if isinstance(data, (str, Path)) else [str(each) for each in data or ()]
    return files_of(words, wanted) or (str(DIGITS),)


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
        assert found.coding is not None  # as the split has labels
        fields[f"{name}/labels"] = found.coding.array(n)
    return fields


def _fill(found: Description, look: Look, masks: list[np.ndarray], *shared: np.ndarray) -> None:
    """Read the files into the shared arrays of a node, and move samples for other splits to the end.

    found: the Description that rank 0 has made.
    look: makes the same description of the files as they are here and now.
    masks: for each split that is cut off, which of the samples then left in the training split belong to it, bool [n].
    shared: the arrays, in the order of `_fields`.
    """
    arrays = dict(zip(_fields(found), shared, strict=True))
    fingerprint = arrays.pop(DIGEST)
    fingerprint[:] = np.frombuffer(_read(found, look, arrays), np.uint8)
    for kind in ("images", "labels"):
        left = arrays[f"train/{kind}"]
        for mask in masks:
            move_to_end(left, mask)
            left = left[: len(left) - int(mask.sum())]


def _read(found: Description, look: Look, arrays: Arrays) -> bytes:
    """Read the files into arrays, check every value, and return the fingerprint."""
    now = look()
    _check_same_file(found.files[0], [found, now])
    with unchanged(now.states):
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
    return replace(split, images=split.images[:rest], labels=split.labels[:rest]), cut


def _check_same_file(path: str, seen: list) -> None:
    """Raise DataError if the file is not the same on all nodes, or has changed while it was read."""
    if any(each != seen[0] for each in seen):
        remedy = "put one copy where all nodes can read it"
        raise DataError(f"{path} differs between nodes, or is being written: {remedy}")
