"""The usual names of images, labels, splits and class names in people's files, and what a path says by them."""

from __future__ import annotations

import re
from dataclasses import dataclass

IMAGES, LABELS = "images", "labels"
KINDS = {
    IMAGES: "images image imgs img x xs data pixels features feature input inputs patches",
    LABELS: "labels label y ys ans answer answers target targets class category categories output outputs gt",
}
KIND_OF = {name: kind for kind, names in KINDS.items() for name in names.split()}
SPLIT_OF = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
}
NEUTRAL = {"set", "split"}  # as in train_set_x
CLASS_NAMES = (
    "classes",
    "class_names",
    "label_names",
    "list_classes",
    "target_names",
    "categories",
    "labels_names",
)
WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


@dataclass(frozen=True)
class Role:
    """What a path says of an array.

    kind: IMAGES, LABELS or None.
    split: the name of the split, or None if the path does not say it.
    """

    kind: str | None
    split: str | None


def role_of(path: str) -> Role:
    """Return what the steps of a path say, such as /train/images, /x_train or /train_set_y."""
    kind, split = None, None
    for step in path.strip("/").split("/"):
        words = words_of(step)
        splits = [SPLIT_OF[word] for word in words if word in SPLIT_OF]
        split = splits[0] if splits else split
        rest = "_".join(word for word in words if word not in SPLIT_OF and word not in NEUTRAL)
        kind = KIND_OF.get(rest) if rest else kind
    return Role(kind, split)


def split_of_file(name: str) -> str | None:
    """Return the split that the name of a file says, or None if it says none or several."""
    found = {SPLIT_OF[word] for word in words_of(name) if word in SPLIT_OF}
    return found.pop() if len(found) == 1 else None


def words_of(name: str) -> list[str]:
    """Return the words of a name, in small letters, such as x and train of X_train, trainX and xtrain."""
    found = [word.lower() for word in WORDS.findall(name)]
    return [part for word in found for part in ((word[0], word[1:]) if _is_joined(word) else (word,))]


def _is_joined(word: str) -> bool:
    """Return whether a word is x or y and the name of a split, such as xtrain."""
    return word[0] in "xy" and word[1:] in SPLIT_OF
