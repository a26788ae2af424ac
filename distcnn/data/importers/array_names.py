"""Which arrays of a source hold images, labels and names of classes, and of which split, by the usual names.

What is open is asked: the message lists the arrays, and the options to type.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from distcnn.data.importers.folder_names import WORDS
from distcnn.errors import DataError

IMAGES = {"images", "image", "imgs", "img", "x", "data", "features", "pixels", "pictures", "inputs"}
LABELS = {"labels", "label", "y", "ans", "target", "targets", "answers", "outputs"}
NAMES = {"classes", "names"}
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
    classes = found[None, "classes"]
    used = {name for pair in splits.values() for name in pair} | set(classes)
    return Chosen(splits, classes[0] if classes else None, tuple(name for name in shapes if name not in used))


def _by_use(shapes: Shapes) -> dict[tuple[str | None, str], list[str]]:
    """Return the names of arrays by (split, kind); where no name says a split, all are for training."""
    arrays = Counter(_file(name) for name in shapes)
    uses = {
        name: (split_of(name), kind_of(name if arrays[_file(name)] == 1 else name.removeprefix(_file(name))))
        for name in shapes
    }
    found: dict[tuple[str | None, str], list[str]] = defaultdict(list)
    for name, (split, kind) in uses.items():
        if kind == "classes":
            found[None, kind].append(name)
        elif kind:
            found[split or "train", kind].append(name)
    return found


def _file(name: str) -> str:
    """Return the beginning of a name that is that of the file, "" if it has none."""
    match = FILE.match(name)
    return match[0] if match else ""


def kind_of(name: str) -> str | None:
    """Return what the last step of a name that says it says that an array holds: images, labels or classes."""
    for step in reversed(name.split("/")):
        words = set(_words(step))
        for kind, known in (("classes", NAMES), ("labels", LABELS), ("images", IMAGES)):
            if words & known:
                return kind
    return None


def split_of(name: str) -> str | None:
    """Return the split that the last step of a name that names one says, or None."""
    for step in reversed(name.split("/")):
        if found := {WORDS[word] for word in _words(step) if word in WORDS}:
            return found.pop() if len(found) == 1 else None
    return None


def _words(step: str) -> list[str]:
    """Return the words of a name such as xTrain, X_train, train-images."""
    return re.findall("[a-z]+", re.sub("([a-z])([A-Z])", r"\1_\2", step).lower())


def _named(source: str, shapes: Shapes, name: str) -> str:
    """Return the array that a user means."""
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
