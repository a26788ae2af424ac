"""The data that `fit` is given, paths or arrays for each split, as settings that name files and arrays in them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from distcnn.data.choice import Chosen, choose
from distcnn.data.dataset import file_names
from distcnn.data.wanted import OPTIONS, Wanted
from distcnn.errors import DataError

Sources = dict[str, tuple[str, ...]]  # the paths of files by split


def paths_of(data: Any) -> tuple[str, ...]:
    """Return data that are one path or several as texts; raise DataError if they are anything else."""
    words = [data] if isinstance(data, str | os.PathLike) else data
    try:
        return tuple(os.fspath(each) for each in words)
    except TypeError:
        raise DataError(f"data are {type(data).__name__}; wanted paths of files, or arrays (x, y)") from None


def named(sources: Mapping[str, Sequence[str]], wanted: Wanted) -> dict[str, Any]:
    """Return the settings that name the data of all splits.

    sources: the files of each split; a file of the training data may hold other splits, too, which those that have
        files of their own replace.
    wanted: what the user says of the files of the training data.
    """
    if set(sources) <= {"train"}:
        return {"data": tuple(sources["train"])} if sources else {}
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
