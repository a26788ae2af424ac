"""Labels of any shape and type as plain arrays, and what is wrong with them: the ground of `labels`. NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from distcnn.errors import DataError

MAX_CLASSES = 2**16  # more classes are assumed to be a mistake
MAP = "--map-labels makes a class of each value"
EXACT = 2.0**53  # whole floats beyond it are not exact

NUMBERS, ONE_HOT, BOOLEAN, TEXT = "numbers", "one-hot", "boolean", "text"


# ---- shapes ----


def sample_axis(shape: Sequence[int], n: int) -> int | None:
    """Return which axis of labels counts n samples, 0 or the last; None if neither does."""
    if shape and shape[0] == n:
        return 0
    return len(shape) - 1 if shape and shape[-1] == n else None


def flattened(name: str, labels: np.ndarray, n: int) -> np.ndarray:
    """Return labels as [n] or, if a sample has several values, [n, k]; text is of dtype U. Raise DataError otherwise.

    (n, 1), (n, 1, 1, 1) and (1, n) become (n,); (k, n) becomes (n, k).
    """
    axis = sample_axis(labels.shape, n)
    if axis is None:
        raise DataError(f"{name} has shape {labels.shape}; wanted ({n},), a label for each of {n} images")
    rows = np.moveaxis(labels, axis, 0)
    sizes = [size for size in rows.shape[1:] if size != 1]
    if len(sizes) > 1:
        found = f"{name} has shape {labels.shape}, {prod(sizes)} labels an image, as masks have"
        raise DataError(f"{found}; wanted (n,): distcnn has no segmentation, only one class an image")
    return _plain(name, rows.reshape(n, *sizes))


def _plain(name: str, labels: np.ndarray) -> np.ndarray:
    """Return labels with text as U, and whole floats as int64; raise DataError unless they are numbers or text."""
    if labels.dtype.kind in "SUO":
        return _texts(name, labels)
    if labels.dtype.kind == "f":
        return _whole(name, labels)
    if labels.dtype.kind not in "iub":
        wanted = "wanted whole numbers, text or true and false"
        raise DataError(f"{name} holds no numbers and no text, but {labels.dtype}; {wanted}")
    return labels


def _whole(name: str, labels: np.ndarray) -> np.ndarray:
    """Return whole floats as int64; raise DataError for other numbers."""
    with np.errstate(invalid="ignore"):
        measures = ~(np.isfinite(labels) & (labels == np.rint(labels)) & (np.abs(labels) < EXACT))
    if measures.any():
        first = tuple(map(int, np.argwhere(measures)[0]))
        place = ", ".join(map(str, first))
        found = f"{name}[{place}] is {labels[first]:g}, a measure"
        raise DataError(f"{found}; wanted classes: distcnn has no regression, only classification")
    return labels.astype(np.int64)


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
        raise DataError(f"{found}; wanted one label a sample: store the column that holds it on its own")
    if (ones != 1).any():
        row = int((ones != 1).argmax())
        found = f"{name} has several labels a sample: row {row} has {ones[row]} ones of {rows.shape[1]}"
        raise DataError(f"{found}; wanted one class a sample: several at once cannot be trained yet")
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
