"""Which arrays of a source hold images, labels and names of classes, and of which split, by the usual names.

What is open is asked: the message lists the arrays, and the options to type.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from distcnn.data.names import CLASSES, mentioned_kind, mentioned_split
from distcnn.errors import DataError

FILE = re.compile(
    r".*\.(npz|mat|h5|hdf5|hdf|h5py)/", re.IGNORECASE
)  # says what is in it if it holds one array
SPLITS = ("train", "validation", "test")
SHOWN = 12  # arrays that a message lists

Shapes = Mapping[str, tuple[int, ...]]  # of arrays, by their names


@dataclass(frozen=True)
class Chosen:
    """The names of arrays.

    splits: (images, labels) of each split, train first; labels are None if they are not known
    classes: the array with the names of the classes, or None
    ignored: arrays that are not used
    """

    splits: dict[str, tuple[str, str | None]]
    classes: str | None
    ignored: tuple[str, ...]


def choose(source: str, shapes: Shapes, images: str | None = None, labels: str | None = None) -> Chosen:
    """Return which arrays are what.

    source: its name, for messages
    shapes: of all arrays, by their names
    images, labels: the arrays of the training split, as the user names them; None to find them

    Raises DataError if that is open.
    """
    found = _by_use(shapes)
    given = {"images": images, "labels": labels}
    for kind, name in given.items():
        if name is not None:
            found["train", kind] = [_named(source, shapes, name)]
    splits: dict[str, tuple[str, str | None]] = {}
    for split in SPLITS:
        of_images, of_labels = found[split, "images"], found[split, "labels"]
        if not of_images and (split != "train" or not of_labels):
            continue
        if len(of_images) != 1 or len(of_labels) > 1 or (split == "train" and not of_labels):
            raise DataError(_question(source, split, shapes, of_images, of_labels))
        splits[split] = of_images[0], of_labels[0] if of_labels else None
    if "train" not in splits:
        raise DataError(_question(source, "train", shapes, [], []))
    classes = found[None, CLASSES]
    used = {name for pair in splits.values() for name in pair} | set(classes)
    return Chosen(splits, classes[0] if classes else None, tuple(name for name in shapes if name not in used))


def _by_use(shapes: Shapes) -> dict[tuple[str | None, str], list[str]]:
    """Return the names of arrays by (split, kind); where no name says a split, all are for training."""
    arrays = Counter(_file(name) for name in shapes)
    uses = {
        name: (
            mentioned_split(name),
            mentioned_kind(name if arrays[_file(name)] == 1 else name.removeprefix(_file(name))),
        )
        for name in shapes
    }
    found: dict[tuple[str | None, str], list[str]] = defaultdict(list)
    for name, (split, kind) in uses.items():
        if kind == CLASSES:
            found[None, kind].append(name)
        elif kind:
            found[split or "train", kind].append(name)
    return found


def _file(name: str) -> str:
    """Return the beginning of a name that is that of the file, "" if it has none."""
    match = FILE.match(name)
    return match[0] if match else ""


def other_file(name: str) -> str | None:
    """Return the path of the file in FILE:/path, by which a user names an array in any file; None for another name."""
    file, colon, path = name.rpartition(":")
    return file if colon and path.startswith("/") and os.path.isfile(file) else None


def in_file(name: str) -> str:
    """Return the name among arrays of one that a user names by FILE:/path."""
    file, _, path = name.rpartition(":")
    return f"{os.path.basename(file)}/{path.strip('/')}"


def _named(source: str, shapes: Shapes, name: str) -> str:
    """Return the array that a user means."""
    name = in_file(name) if other_file(name) else name
    found = [each for each in shapes if f"/{each}".endswith(f"/{name.strip('/')}")]
    if len(found) != 1:
        problem = f"no array {name}" if not found else f"several arrays {name}"
        raise DataError(f"{source} has {problem}; it has {_listed(shapes)}: name one of these")
    return found[0]


def _question(source: str, split: str, shapes: Shapes, images: Sequence[str], labels: Sequence[str]) -> str:
    """Return the message for a split whose images or labels are not known."""
    if len(shapes) < 2:
        remedy = "put both into one folder, as images.npy and labels.npy, and import that"
        return f"{source} has {_listed(shapes)} alone; wanted images and labels: {remedy}"
    both = (("images", images), ("labels", labels))
    found = " and ".join(f"{', '.join(names) or 'none'} for {split} {kind}" for kind, names in both)
    remedy = "say which they are, --images NAME --labels NAME"
    return f"{source}: the names of arrays leave open which is which ({found}); it has {_listed(shapes)}: {remedy}"


def _listed(shapes: Shapes) -> str:
    """Return a list of the arrays with their shapes."""
    shown = [f"{name} {shape}" for name, shape in list(shapes.items())[:SHOWN]]
    return ", ".join(shown) + ", ..." * (len(shapes) > SHOWN) or "no arrays"
