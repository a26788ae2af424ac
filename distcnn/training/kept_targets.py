"""Targets that stay standardized as they were when a net was trained, and what to say if the data are far from that.

A net has learned targets minus their mean over their standard deviation. So these two belong to its weights, as the
normalization of images does: with others, the same outputs would mean other numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np

from distcnn.errors import DataError
from distcnn.network.targets import Moments

# Most standard deviations between two means, and the largest ratio of two standard deviations: without a word, and with
# which a net can go on at all, as far beyond that losses leave the range of exact sums.
NEAR, USABLE = (1.0, 2.0), (100.0, 100.0)
MOST_TOLD = 3  # targets


def told(kept: Moments, found: Moments, names: Sequence[str]) -> list[str]:
    """Return a line with the targets whose mean or standard deviation is far from that which stays, if there are any.

    kept: those with which the net was trained.
    found: those of the training split.
    names: of the targets.

    Raises DataError if a target is so far that it must be of another unit.
    """
    beyond = _beyond(kept, found, USABLE)
    if len(beyond):
        what = f"the net has learned other targets than these: {_shown(kept, found, names, beyond)}"
        raise DataError(f"{what}: bring them to the same unit, or begin with a new net")
    far = _beyond(kept, found, NEAR)
    stay = "targets stay standardized as the net has learned them, far from these data"
    return [f"{stay}: {_shown(kept, found, names, far)}"] if len(far) else []


def _beyond(kept: Moments, found: Moments, limits: tuple[float, float]) -> np.ndarray:
    """Return the numbers of the targets that are farther from what stays than limits such as NEAR."""
    mean, std, mean_here, std_here = np.asarray([*kept, *found], np.float64)
    distance, ratio = np.abs(mean_here - mean) / std, np.maximum(std, std_here) / np.minimum(std, std_here)
    return np.flatnonzero((distance > limits[0]) | (ratio > limits[1]))


def _shown(kept: Moments, found: Moments, names: Sequence[str], which: np.ndarray) -> str:
    """Return a phrase with what stays and what the data have, for the first of some targets."""
    some = (f"{_named(names[k])} has {_numbers(kept, k)} there, {_numbers(found, k)} here" for k in which)
    more = f"; and {len(which) - MOST_TOLD} more" if len(which) > MOST_TOLD else ""
    return "; ".join(islice(some, MOST_TOLD)) + more


def _named(name: str) -> str:
    return f"target {name}" if name.isdigit() else name


def _numbers(pair: Moments, k: int) -> str:
    mean, std = pair
    return f"mean {mean[k]:.4g} and standard deviation {std[k]:.4g}"
