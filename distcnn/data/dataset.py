"""A dataset in memory: one copy per node, mapped by all its ranks, read-only."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from distcnn.data.classes import numbered
from distcnn.data.hdf5_file import DIGITS, opened
from distcnn.data.schema import MADE_ANEW, Layout, layout_of, seal
from distcnn.data.split import move_to_end, validation_mask
from distcnn.data.values import digest, label_value_problem, pixel_value_problem
from distcnn.errors import DataError
from distcnn.parallel.collective import on_all, on_root
from distcnn.parallel.shared_memory import share

DIGEST = "sha256"


@dataclass(frozen=True)
class Split:
    """Samples for one purpose: images uint8 or float32 [n, c, h, w], labels int32 [n]."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Dataset:
    """All samples of a file; the fingerprint is a SHA-256 over all arrays: name, type, shape, values."""

    name: str
    fingerprint: str
    classes: tuple[str, ...]
    train: Split
    test: Split | None
    validation: Split | None = None


def load(path: str | Path | None, comm, validation: float = 0.0, seed: int = 0) -> Dataset:
    """Read and check a dataset on all ranks of `comm` together; without a path, the digits of distcnn.

    validation: the fraction of the training part that becomes a part of its own, chosen by the seed.

    Raises DataError, the same on every rank.
    """
    path = DIGITS if path is None else Path(path)
    layout = on_root(comm, partial(_inspect, path))
    plan = _plan(layout)
    chosen = on_all(comm, validation_mask, layout.images["train"][0], validation, seed)

    def fill(*arrays):
        named = dict(zip(plan, arrays, strict=True))
        _fill(path, layout, named)
        for kind in ("images", "labels"):
            move_to_end(named[f"train/{kind}"], chosen)

    shared = share(comm, list(plan.values()), fill)
    arrays = dict(zip(plan, shared, strict=True))
    fingerprint = arrays[DIGEST].tobytes().hex()
    everywhere = comm.allgather(fingerprint)
    on_all(comm, partial(_check_alike, path, everywhere))
    parts = {part: Split(arrays[f"{part}/images"], arrays[f"{part}/labels"]) for part in layout.images}
    classes = layout.classes or numbered(part.labels for part in parts.values())
    train, held = _cut(parts["train"], int(chosen.sum()))
    return Dataset(path.stem, fingerprint, classes, train, parts.get("test"), held)


def _cut(part: Split, count: int) -> tuple[Split, Split | None]:
    """Return a part without its last samples, and these, if there are any."""
    rest = len(part.labels) - count
    held = Split(part.images[rest:], part.labels[rest:]) if count else None
    return Split(part.images[:rest], part.labels[:rest]), held


def _inspect(path: Path) -> Layout:
    with opened(path) as file:
        return layout_of(file)


def _plan(layout: Layout) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Return shape and type of all arrays that a node's ranks share, by name."""
    plan = {DIGEST: ((32,), np.dtype(np.uint8))}
    for part, shape in layout.images.items():
        plan[f"{part}/images"] = (shape, np.dtype(layout.dtype))
        plan[f"{part}/labels"] = (shape[:1], np.dtype(np.int32))
    return plan


def _fill(path: Path, layout: Layout, arrays: dict[str, np.ndarray]) -> None:
    """Read the file into a node's arrays and check every value."""
    with opened(path) as file:
        _check_alike(path, [layout, layout_of(file)])
        for part in layout.images:
            name = f"{part}/images"
            file[name].read_direct(arrays[name].reshape(file[name].shape))
            _raise(path, pixel_value_problem(f"/{name}", arrays[name]))
            name = f"{part}/labels"
            labels = file[name][:]
            _raise(path, label_value_problem(f"/{name}", labels, layout.classes))
            arrays[name][:] = labels
        found = digest({k: v for k, v in arrays.items() if k != DIGEST})
        if layout.seal not in (None, seal(found.hex(), layout.classes)):
            raise DataError(
                f"{path}: samples or classes are not those that were sealed: {MADE_ANEW}, seal of /train"
            )
    arrays[DIGEST][:] = np.frombuffer(found, np.uint8)


def _raise(path: Path, problem: str | None) -> None:
    if problem:
        raise DataError(f"{path}: {problem}")


def _check_alike(path: Path, seen: list) -> None:
    """Raise DataError if the file is not the same on all nodes, or has changed while it was read."""
    if any(each != seen[0] for each in seen):
        raise DataError(
            f"{path} differs from node to node, or is being written: put one copy where all nodes see it"
        )
