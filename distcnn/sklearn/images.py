"""Images as estimators get them: in the rows of a table, or with axes in any order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from distcnn.data.axes import Axes, find_axes, given_axes, parse_axes
from distcnn.errors import DataError
from distcnn.job.wording import as_keyword, worded

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Format:
    """How the numbers of a sample are an image.

    sample: the sizes of the axes of a sample.
    axes: of all samples.
    """

    sample: Shape
    axes: Axes

    def images(self, rows: np.ndarray) -> np.ndarray:
        """Return images [n, c, h, w], C-contiguous; rows: [n, features]."""
        return np.ascontiguousarray(self.axes.turned(rows.reshape(len(rows), *self.sample)))


def flattened(X: Any) -> tuple[Any, Shape]:
    """Return X with all axes but the first as one, and the shape of a sample before that.

    X: an array, or anything that scikit-learn makes one of.
    """
    table = X if hasattr(X, "shape") else np.asarray(X)
    shape = tuple(table.shape)
    if len(shape) > 2:
        table = np.asarray(table).reshape(shape[0], prod(shape[1:]))
    return table, shape[1:]


def find_format(samples: int, sample: Shape, image_shape: Sequence[int] | None, layout: str | None) -> Format:
    """Return how samples are images; raise ValueError, with what to choose from, if that is open.

    samples: their number.
    sample: the shape of one in X.
    image_shape: of an image that lies in a row of X; one size may be -1 and is then inferred. None: there are no rows.
    layout: the axes of X as the user names them, as in "NHWC"; None: as their sizes show.
    """
    if image_shape is not None:
        sample = _folded(sample, image_shape)
    shape = (samples, *sample)
    try:
        axes = given_axes("X", shape, _parsed(layout)) if layout is not None else find_axes("X", shape)
    except DataError as error:
        raise ValueError(worded(str(error), as_keyword)) from None
    return Format(axes.sizes or sample, Axes(axes.letters))


def _folded(sample: Shape, image_shape: Sequence[int]) -> Shape:
    """Return the shape of a sample, which is or must be `image_shape`."""
    try:
        found = np.empty(prod(sample), np.bool_).reshape(image_shape).shape
    except (TypeError, ValueError):
        found = ()
    if not found or (len(sample) > 1 and found != sample):
        wanted = (
            f"wanted the sizes of an image's axes, whose product is {prod(sample)}, as (h, w) or (c, h, w)"
        )
        raise ValueError(
            f"image_shape {image_shape!r} does not fit X, whose samples have shape {sample}: {wanted}"
        )
    return found


def _parsed(layout: str) -> Axes:
    """Return the axes that a text names; raise DataError if it is not valid or samples do not come first."""
    try:
        axes = parse_axes(layout)
    except (AttributeError, ValueError) as error:
        raise DataError(f"layout: {error}") from None
    if axes.sample:
        raise DataError(f"layout {axes} does not begin with N, but samples come first here: transpose X")
    return axes
