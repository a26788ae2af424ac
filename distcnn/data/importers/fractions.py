"""Split samples for testing and validation off a source that has none: a function of the seed and their number."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from distcnn.data.importers.importer import Options
from distcnn.data.importers.writer import Pair, Samples
from distcnn.data.split import move_to_end
from distcnn.errors import DataError
from distcnn.numerics import random

OWN_WORDS = 1  # not those from which training draws its validation split


def with_fractions(source: str, samples: Samples, options: Options) -> Samples:
    """Return samples with the splits that the options ask for; the arrays of the training split are reordered.

    Raises DataError if the source has such a split already, or if a split would be empty.
    """
    fractions = {"test": options.test_split or 0.0, "validation": options.validation_split or 0.0}
    asked = {split: fraction for split, fraction in fractions.items() if fraction}
    for split in asked.keys() & samples.splits.keys():
        raise DataError(f"{source} has a {split} split of its own: leave --{split}-split out")
    images, labels = samples.splits["train"]
    n = len(images)
    words = random.words(options.seed, random.VALIDATION, OWN_WORDS, n)
    order = np.argsort(words, kind="stable")
    parts: dict[str, Pair] = {}
    is_left = np.ones(n, bool)
    for split, fraction in asked.items():
        count = int(n * fraction + 0.5)
        if not 0 < count < is_left.sum():
            raise DataError(
                f"{source}: --{split}-split {fraction} takes {count} of {n} images; wanted some, and not all"
            )
        chosen = np.sort(order[:count])
        order, is_left[chosen] = order[count:], False
        parts[split] = images[chosen], None if labels is None else labels[chosen]
    if asked:
        parts["train"] = _rest(images, is_left), None if labels is None else labels[is_left]
    order_of_splits = ("train", "validation", "test")
    found = {**samples.splits, **parts}
    return replace(samples, splits={split: found[split] for split in order_of_splits if split in found})


def _rest(images: np.ndarray, is_left: np.ndarray) -> np.ndarray:
    """Return some of the images, without a second copy of all."""
    images = images if images.flags.writeable else images.copy()
    move_to_end(images, ~is_left)
    return images[: int(is_left.sum())]
