"""Labels of any shape and type as plain arrays, and what is wrong with them: the ground of `labels`. NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from distcnn.errors import DataError

MAX_CLASSES = 2**16  # more classes are assumed to be a mistake
MAP = "--map-labels makes a class of each value"
EXACT = 2.0**53  # whole floats beyond it are not exact

NUMBERS, ONE_HOT, BOOLEAN, TEXT = "numbers", "one-hot", "boolean", "text"


# ---- shapes ----


def sample_axis(shape: Sequence[int], n: int) -> int | None:
    """Return which axis of labels counts n samples, 0 or, if it is longer, the last; None if neither does."""
    if shape and shape[0] == n:
        return 0
    return len(shape) - 1 if shape and shape[-1] == n > shape[0] else None


def label_axis(name: str, shape: Sequence[int], n: int) -> int:
    """Return which axis of labels counts n samples; raise DataError unless each sample has one label or one row."""
    axis = sample_axis(shape, n)
    if axis is None:
        raise DataError(f"{name} has shape {tuple(shape)}; wanted ({n},), a label for each of {n} images")
    sizes = [size for k, size in enumerate(shape) if k != axis and size != 1]
    if len(sizes) > 1:
        found = f"{name} has shape {tuple(shape)}, {prod(sizes)} labels an image, as masks have"
        raise DataError(f"{found}; wanted (n,): distcnn has no segmentation, only one class an image")
    return axis


def flattened(name: str, labels: np.ndarray, n: int) -> np.ndarray:
    """Return labels as [n] or, if a sample has several values, [n, k]; text is of dtype U. Raise DataError otherwise.

    (n, 1), (n, 1, 1, 1) and (1, n) become (n,); (k, n) becomes (n, k). Numbers stay as they are.
    """
    rows = np.moveaxis(labels, label_axis(name, labels.shape, n), 0)
    return _plain(name, rows.reshape(n, *(size for size in rows.shape[1:] if size != 1)))


def _plain(name: str, labels: np.ndarray) -> np.ndarray:
    """Return labels with text as U; raise DataError unless they are numbers or text."""
    if labels.dtype.kind in "SUO":
        return _texts(name, labels)
    if labels.dtype.kind not in "iubf":
        wanted = "wanted whole numbers, text or true and false"
        raise DataError(f"{name} holds no numbers and no text, but {labels.dtype}; {wanted}")
    return labels


def whole(name: str, plain: np.ndarray) -> np.ndarray:
    """Return flattened labels with whole floats as int64; raise DataError for other floats, which are no classes."""
    measures = are_measures(plain)
    if measures.any():
        place, value = first_of(name, plain, measures)
        remedy = "say --task regress" if np.isfinite(value) else "leave out the images without a label"
        raise DataError(f"{place} is {value:g}, a measure; wanted classes: {remedy}")
    return plain.astype(np.int64) if plain.dtype.kind == "f" else plain


def are_measures(plain: np.ndarray) -> np.ndarray:
    """Return which of flattened labels are floats that are not whole numbers, bool of the same shape."""
    if plain.dtype.kind != "f":
        return np.zeros(plain.shape, bool)
    with np.errstate(invalid="ignore"):
        return ~(np.isfinite(plain) & (plain == np.rint(plain)) & (np.abs(plain) < EXACT))


def first_of(name: str, plain: np.ndarray, chosen: np.ndarray) -> tuple[str, Any]:
    """Return the place in an array, as text, and the value of the first of the chosen labels; chosen: bool."""
    first = tuple(map(int, np.argwhere(chosen)[0]))
    return f"{name}[{', '.join(map(str, first))}]", plain[first]


def _texts(name: str, labels: np.ndarray) -> np.ndarray:
    """Return text without blanks around it, dtype U; raise DataError unless all are text in UTF-8 and not empty."""
    if labels.ndim > 1:
        raise DataError(f"{name} has {labels.shape[1]} texts a sample; wanted one")
    texts = []
    for row, value in enumerate(labels.tolist()):
        try:
            text = value.decode() if isinstance(value, bytes) else value
            valid = isinstance(text, str) and "\0" not in text and bool(text.strip()) and text.encode()
        except UnicodeError:
            valid = False
        if not valid:
            found = f"{name}[{row}] is {repr(value)[:50]}"
            raise DataError(f"{found}; wanted a number, or text in UTF-8 that names a class")
        texts.append(text.strip())
    return np.array(texts, dtype=str)


# ---- values ----


def kind_of(name: str, plain: np.ndarray) -> str:
    """Return what flattened labels are; raise DataError for rows of several values that are not one-hot."""
    if plain.dtype.kind == "U":
        return TEXT
    if plain.ndim == 2:
        of_one_hot(name, plain)
        return ONE_HOT
    return BOOLEAN if plain.dtype.kind == "b" else NUMBERS


def of_one_hot(name: str, rows: np.ndarray) -> np.ndarray:
    """Return the position of the only 1 in each row [n, k], int64 [n]; raise DataError if rows are something else."""
    other = (rows != 0) & (rows != 1)
    ones = np.count_nonzero(rows, axis=1)
    if other.any():
        value = rows[tuple(np.argwhere(other)[0])]
        found = f"{name} has {rows.shape[1]} numbers a sample, such as {value}"
        remedy = "store the column that holds it on its own, or say --task regress to predict them all"
        raise DataError(f"{found}; wanted one label a sample: {remedy}")
    if (ones != 1).any():
        row = int((ones != 1).argmax())
        found = f"{name} has several labels a sample: row {row} has {ones[row]} ones of {rows.shape[1]}"
        raise DataError(f"{found}; wanted one class a sample: say --task multilabel")
    return rows.argmax(axis=1)


def label_value_problem(name: str, labels: np.ndarray, classes: Sequence[str] | None) -> str | None:
    """Return what is wrong with the values of labels, or None.

    name: the path of the dataset, for the message.
    labels: [n], whole numbers of any type.
    classes: the names of the classes, or None if the file has none.
    """
    limit = MAX_CLASSES if classes is None else len(classes)
    outside = (labels < 0) | (labels >= limit)
    if not outside.any():
        return None
    first = int(outside.argmax())
    found = f"{name}[{first}] is {int(labels[first])}"
    if classes is None or labels[first] < 0:
        return f"{found}; wanted 0 to {limit - 1}: number the classes from 0, or {MAP}"
    named = f"the attribute classes names {limit}, 0 to {limit - 1}"
    return f"{found}, but {named}: count from 0, or name all classes"
