"""The usual names of images, labels, splits and class names in people's files, and what a path says by them.

Two readings of a path: `role_of` takes only what consists of usual names, as data that are read in place need no
options then; `mentioned_kind` and `mentioned_split`, of imports, take a usual name among other words, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

IMAGES, LABELS, CLASSES = "images", "labels", "classes"
KINDS = {
    IMAGES: "images image imgs img x xs data pixels features feature input inputs patches pictures",
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
PREDICTION = dict.fromkeys(("pred", "predict", "prediction"), "prediction")  # splits of imports alone
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
KEPT_ATTRIBUTES = ("pictures", "decoder")  # of a file, in which an import says how its images were made
CLASS_WORDS = {"classes", "names"}  # of which one is enough where an import looks for names of classes
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


def mentioned_kind(path: str) -> str | None:
    """Return IMAGES, LABELS or CLASSES, by the last step of a path in which any word says it; None without one."""
    for step in reversed(path.split("/")):
        words = words_of(step)
        if CLASS_WORDS.intersection(words):
            return CLASSES
        kinds = {KIND_OF[word] for word in words if word in KIND_OF}
        if kinds:
            return LABELS if LABELS in kinds else IMAGES
    return None


def mentioned_split(path: str) -> str | None:
    """Return the split, or "prediction", by the last step of a path in which any word says it; None without one."""
    known = SPLIT_OF | PREDICTION
    for step in reversed(path.split("/")):
        found = {known[word] for word in words_of(step) if word in known}
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def words_of(name: str) -> list[str]:
    """Return the words of a name, in small letters, such as x and train of X_train, trainX and xtrain."""
    found = [word.lower() for word in WORDS.findall(name)]
    return [part for word in found for part in ((word[0], word[1:]) if _is_joined(word) else (word,))]


def _is_joined(word: str) -> bool:
    """Return whether a word is x or y and the name of a split, such as xtrain."""
    return word[0] in "xy" and word[1:] in SPLIT_OF
