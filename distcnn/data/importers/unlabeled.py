"""Images to predict, from image files, folders and archives of them, and patterns such as 'more/*.jpg'."""

from __future__ import annotations

import glob
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from distcnn.data.importers import archive
from distcnn.data.importers.archive import files
from distcnn.data.importers.collector import told
from distcnn.data.importers.decoding import Item, decode_all
from distcnn.data.importers.folder_names import is_image
from distcnn.data.importers.importer import Source
from distcnn.data.importers.notes import noted, unread
from distcnn.data.importers.pictures import RESIZED, Format, Picture, Unusable
from distcnn.errors import DataError
from distcnn.system.counts import counted

Key = tuple[str, str]  # path of a file, folder or archive, and the name of the image in it, or ""
REMEDY = "name others, or leave damaged ones out with --skip-damaged"
LIMIT = 2**30  # bytes of decoded images, which every rank holds
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.bz2", ".txz", ".tbz2")


@dataclass(frozen=True)
class Unlabeled:
    """Images without labels: float32 or uint8 [n, c, h, w]; names: of their files."""

    images: np.ndarray
    names: tuple[str, ...]


def expanded(words: Sequence[str]) -> list[str]:
    """Return paths, with those that match in place of each pattern; raise DataError for what is not there."""
    found = []
    for word in words:
        matches = [word] if os.path.lexists(word) else sorted(glob.glob(word, recursive=True))
        if not matches:
            what = "no file matches this pattern" if glob.has_magic(word) else "does not exist"
            raise DataError(f"{word}: {what}: check the path")
        found += matches
    return found


def holds_pictures(path: str) -> bool:
    """Return whether a path is that of an image file, a folder or an archive, by its name."""
    return os.path.isdir(path) or is_image(os.path.basename(path)) or path.lower().endswith(ARCHIVES)


def read_pictures(
    paths: Sequence[str],
    wanted: Format,
    skip_damaged: bool,
    one_size: bool,
    note: Callable[[str], None],
) -> Unlabeled:
    """Return the images in files, folders and archives, in the order of the paths, then of their names.

    wanted: what they are to become; it has a size and channels
    skip_damaged: whether to leave damaged images out
    one_size: whether the images of the training were not resized, so that it is told if these are
    note: is called with each line on what was left out or changed

    Raises DataError if an image cannot be used, or if there is none.
    """
    every = [(path, name) for path in paths for name in _names(path)]
    for line in unread(_shown(key) for key in every):
        note(line)
    keys = [key for key in every if not key[1] or is_image(key[1])]
    if not keys:
        raise DataError(f"{paths[0]} holds no image files: name others")
    _require_memory(paths[0], len(keys), wanted)
    images: dict[Key, Picture] = {}
    problems: dict[Key, Unusable] = {}
    for key, found in decode_all(_items(keys, wanted), len(keys)):
        if isinstance(found, Unusable):
            problems[key] = found
        elif isinstance(found, Picture):
            images[key] = found
    _tell_problems({_shown(key): problem for key, problem in problems.items()}, skip_damaged, note)
    good = [(key, images[key]) for key in dict.fromkeys(keys) if key in images]
    if not good:
        raise DataError(f"{paths[0]}: no image can be used: name others")
    remarks = _remarks(good)
    resized = (
        noted(remarks[RESIZED], "stretched, as all images of the training had one size") if one_size else []
    )
    for line in [*told(remarks), *resized]:
        note(line)
    return Unlabeled(np.stack([picture.pixels for _, picture in good]), tuple(_shown(key) for key, _ in good))


def _remarks(found: list[tuple[Key, Picture]]) -> dict[str, list[str]]:
    """Return the names of images by what was done to them."""
    names = defaultdict(list)
    for key, picture in found:
        for remark in picture.remarks:
            names[remark].append(_shown(key))
    return names


def _names(path: str) -> list[str]:
    """Return the names of the files in a folder or an archive, in order; [""] for an image file."""
    is_file = is_image(os.path.basename(path)) and not os.path.isdir(path)
    return [""] if is_file else sorted(Source(path).names)


def _shown(key: Key) -> str:
    """Return the name of an image for the user."""
    return os.path.join(*key) if key[1] else key[0]


def _items(keys: list[Key], wanted: Format) -> Iterator[Item]:
    """Yield the image files: those of archives with their contents."""
    inside: dict[str, set[str]] = defaultdict(set)
    for path, name in keys:
        if name and not os.path.isdir(path):
            inside[path].add(name)
        elif name not in inside[path]:
            inside[path].add(name)
            yield Item((path, name), os.path.join(path, name) if name else path, wanted, archive.LIMIT)
    for path in [path for path in inside if not os.path.isdir(path) and "" not in inside[path]]:
        for name, content in files(path, inside[path].__contains__):
            yield Item((path, name), content, wanted, archive.LIMIT)


def _require_memory(path: str, count: int, wanted: Format) -> None:
    """Raise DataError if the images would need more than LIMIT bytes."""
    size = (
        count * (wanted.channels or 3) * prod(wanted.size or (1, 1)) * (4 if wanted.pixels == "float" else 1)
    )
    if size > LIMIT:
        found = f"{count:,} images take {size / 2**30:.1f} GiB; at most {LIMIT >> 30} GiB at once"
        raise DataError(f"{path}: {found}: name fewer, or make a file with python -m distcnn.data import")


def _tell_problems(problems: dict[str, Unusable], skip_damaged: bool, note: Callable[[str], None]) -> None:
    """Raise DataError if an image cannot be used, unless it is damaged and such images are to be left out."""
    lines = {name: f"{name} {problem.found}" for name, problem in sorted(problems.items())}
    if skip_damaged:
        for name in [name for name, problem in sorted(problems.items()) if problem.is_damage]:
            note(f"left out: {lines.pop(name)}")
    if len(lines) == 1:
        raise DataError(f"{next(iter(lines.values()))}: {REMEDY}")
    for line in lines.values():
        note(line)
    if lines:
        raise DataError(f"{counted(len(lines), 'image')} cannot be used, listed above: {REMEDY}")
