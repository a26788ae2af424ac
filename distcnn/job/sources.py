"""The data that a user's program gives, paths or arrays for each split, as settings that name files and arrays."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from distcnn.data.choice import Chosen, choose
from distcnn.data.dataset import file_names
from distcnn.data.wanted import OPTIONS, Wanted
from distcnn.errors import DataError
from distcnn.job.arrays import is_pair, written
from distcnn.job.request import request_of
from distcnn.parallel.collective import mark_collective, on_all, on_root
from distcnn.parallel.comm import Comm

Sources = dict[str, tuple[str, ...]]  # the paths of files by split


@contextmanager
def data_settings(
    comm: Comm, data: Mapping[str, Any], given: Mapping[str, Any]
) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Yield the settings that name the data of all splits, and the path of the file of arrays, if there are any.

    Collective.

    data: by split: paths, arrays (x, y), which are in a file inside the block, or None.
    given: all other settings.
    """
    wanted = Wanted.of(on_all(comm, request_of, given).config)
    with in_files(comm, data) as sources:
        file = next((files[0] for split, files in sources.items() if is_pair(data[split])), None)
        if all(is_pair(data[split]) for split in sources) and "train" in sources:
            sources = {"train": sources["train"]}  # a file in which each split has its usual name
        yield on_root(comm, named, sources, wanted), file


@contextmanager
def in_files(comm: Comm, data: Mapping[str, Any]) -> Iterator[Sources]:
    """Yield the paths of the files that hold the data of each split. Collective.

    data: by split: paths, arrays (x, y), which are in one file inside the block, or None.
    """
    pairs = {split: each for split, each in data.items() if is_pair(each)}
    others = {split: each for split, each in data.items() if each is not None and split not in pairs}
    if any(each != [*pairs] for each in comm.allgather([*pairs])):
        raise mark_collective(DataError("some ranks have arrays, others paths: give the same on every rank"))
    sources = on_all(comm, lambda: {split: paths_of(each) for split, each in others.items()})
    if not pairs:
        yield sources
        return
    with written(comm, pairs) as path:
        yield sources | dict.fromkeys(pairs, (path,))


def paths_of(data: Any) -> tuple[str, ...]:
    """Return data that are one path or several as texts; raise DataError if they are anything else."""
    words = [data] if isinstance(data, str | os.PathLike) else data
    try:
        return tuple(os.fspath(each) for each in words)
    except TypeError:
        raise DataError(f"data are {type(data).__name__}; wanted paths of files, or arrays (x, y)") from None


def named(sources: Sources, wanted: Wanted) -> dict[str, Any]:
    """Return the settings that name the data of all splits.

    sources: the files of each split; a file of the training data may hold other splits, too, which those that have
        files of their own replace.
    wanted: what the user says of the files of the training data.
    """
    if not sources:
        return {}
    if set(sources) == {"train"}:
        return {"data": sources["train"]}
    files = file_names(sources.get("train"), wanted)
    chosen = choose(files, wanted).splits
    for split in set(sources) - {"train"}:
        more = file_names(sources[split], Wanted())
        chosen[split] = _only(split, more)
        files += tuple(each for each in more if each not in files)
    settings: dict[str, Any] = {"data": files}
    for split, each in chosen.items():
        settings[f"{OPTIONS[split]}images"] = tuple(map(str, each.images))
        settings[f"{OPTIONS[split]}labels"] = tuple(map(str, each.labels)) or None
    return settings


def _only(split: str, files: tuple[str, ...]) -> Chosen:
    """Return the arrays of a split in files of its own: those that their names say, else the only ones there."""
    found = choose(files, Wanted(), ()).splits
    if split in found:
        return found[split]
    if len(found) != 1:
        what = f"{', '.join(found)} data" if found else "no images"
        remedy = f"name them by {split}_images and {split}_labels"
        raise DataError(f"{files[0]} holds {what}; wanted {split} data: {remedy}")
    return next(iter(found.values()))
