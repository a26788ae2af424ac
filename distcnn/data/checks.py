"""What looks wrong with a dataset that can be trained on: it is told, and left to the user."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import numpy as np

FAR = 50  # splits whose largest values differ by this factor are not scaled alike
RARE = 10  # a class is rare if it has fewer samples than the mean of all classes over this number


class Checks:
    """Looks at the splits of a dataset one after the other.

    say: called with each line on what looks wrong.
    """

    def __init__(self, say: Callable[[str], None]):
        self._say = say
        self._seen: dict[str, set[bytes]] = {}  # by split: hashes of its images
        self._largest: dict[str, float] = {}  # by split: the largest absolute value

    def images(self, split: str, name: str, images: np.ndarray) -> None:
        """Look for images that are constant, those that an earlier split has, too, and values of another scale.

        split: the name of the split.
        name: of the array.
        images: [n, c, h, w].
        """
        rows = images.reshape(len(images), -1)
        constant = np.flatnonzero((rows == rows[:, :1]).all(axis=1))
        if len(constant) and rows.shape[1] > 1:
            found = f"{_counted(len(constant), 'image has', 'images have')} one color in all pixels"
            self._say(f"{found}, the first is {name}[{constant[0]}]")
        hashes = [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows]
        for other, seen in self._seen.items():
            twice = [k for k, each in enumerate(hashes) if each in seen]
            if other != split and twice:
                both = f"{split} image is a {other} image", f"{split} images are {other} images"
                found = f"{_counted(len(twice), *both)}, too"
                self._say(f"{found}, the first is {name}[{twice[0]}]")
        self._seen.setdefault(split, set()).update(hashes)
        self._compare_scales(split, max(float(images.max()), -float(images.min())))

    def _compare_scales(self, split: str, largest: float) -> None:
        """Look for an earlier split with values of another order; largest: the largest absolute value of this one."""
        for other, value in self._largest.items():
            low, high = sorted((largest, value))
            if other != split and high > FAR * low > 0:
                found = f"{split} images have values up to {largest:g}, {other} images up to {value:g}"
                self._say(f"{found}: are both scaled alike?")
        self._largest[split] = max(largest, self._largest.get(split, 0.0))

    def classes(self, counts: dict[str, np.ndarray], are_numbers: bool = True) -> None:
        """Look for classes with no or few training samples.

        counts: by split, of each class.
        are_numbers: whether the labels are the numbers of classes.
        """
        train = counts.get("train")
        if train is None or not len(train):
            return
        for line in empty_classes(train, are_numbers):
            self._say(line)
        limit = train.sum() / max(1, np.count_nonzero(train)) / RARE
        for k in np.flatnonzero((train > 0) & (train < limit))[:8]:
            self._say(
                f"class {k} is rare, {train[k]} of {train.sum():,} training samples: accuracy hardly shows it"
            )


def empty_classes(counts: np.ndarray, are_numbers: bool) -> Iterator[str]:
    """Yield lines on classes without training samples.

    counts: how many training samples each class has, int [classes].
    are_numbers: whether the labels are the numbers of classes.
    """
    empty = np.flatnonzero(counts == 0).tolist()
    if are_numbers and empty[:1] == [0]:
        yield "class 0 has no training samples: do the labels count from 1? --map-labels makes a class of each value"
    others = [k for k in empty if k or not are_numbers]
    if others:
        shown = ", ".join(map(str, others[:8])) + ", ..." * (len(others) > 8)
        yield f"no training samples for {_counted(len(others), 'class', 'classes')}: {shown}"


def _counted(number: int, one: str, more: str = "") -> str:
    """Return a number with its noun, such as "1 image" and "2 images"."""
    return f"{number:,} {one if number == 1 else more or f'{one}s'}"
