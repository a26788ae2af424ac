"""Labels of several numbers a sample: answers, 0 or 1 for each label, or measures. NumPy in, NumPy out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from distcnn.config.types import REGRESS
from distcnn.data.label_values import BOOLEAN, MAX_CLASSES, TEXT, first_of, flattened
from distcnn.data.labels import SIGNS, Coding
from distcnn.errors import DataError
from distcnn.system.counts import counted

ANSWERS, MEASURES = "0 and 1", "measures"  # kinds of rows, besides SIGNS
RESOLUTION = 1e-3  # the largest error of float32, over the standard deviation of a target

Plain = Mapping[str, np.ndarray]  # flattened labels by the names of their arrays


@dataclass(frozen=True)
class Rows(Coding):
    """How rows of numbers become what training sees; `classes` are the names of their columns."""

    def numbers(self, name: str, labels: np.ndarray, n: int) -> np.ndarray:
        """Return the rows of n samples, uint8 or float32 [n, columns].

        name: of the array, for messages.
        labels: the array as it is stored.
        """
        rows = _rows(flattened(name, labels, n))
        columns = len(self.classes or ())
        if rows.shape[1] != columns:
            found = f"the labels {name} have {rows.shape[1]} numbers a sample"
            raise DataError(f"{found}; wanted {columns}, as before: name other labels")
        return _CONVERTERS[self.kind](name, rows)


def understand_rows(task: str, plain: Plain, names: Sequence[str] | None = None) -> Rows:
    """Return how labels become rows of answers or measures; raise DataError if they are something else.

    task: MULTILABEL or REGRESS.
    plain: the labels of all splits.
    names: the names of the columns, if the source has them.
    """
    widths = {name: _rows(array).shape[1] for name, array in plain.items()}
    first, columns = next(iter(widths.items()))
    for name, other in widths.items():
        if other != columns:
            found = f"the labels {name} have {other} numbers a sample, those in {first} have {columns}"
            raise DataError(f"{found}: store both alike")
    if columns > MAX_CLASSES:
        raise DataError(f"{first} has {columns:,} numbers a sample; wanted at most {MAX_CLASSES:,}")
    if names is not None and len(names) != columns:
        found = f"{first} has {counted(columns, 'number')} a sample, but the file names {counted(len(names), 'class')}"
        raise DataError(f"{found}: say --task classify, or give each column one name in the file")
    kind = MEASURES if task == REGRESS else SIGNS if _are_signs(plain) else ANSWERS
    found_names = tuple(names) if names is not None else tuple(map(str, range(columns)))
    for name, array in plain.items():
        _CONVERTERS[kind](name, _rows(array))
    return Rows(kind, found_names, task=task)


def _rows(plain: np.ndarray) -> np.ndarray:
    return plain if plain.ndim == 2 else plain[:, None]


def _are_signs(plain: Plain) -> bool:
    """Return whether all values are -1 and 1, and some are -1."""
    arrays = [array for array in plain.values() if array.dtype.kind in "if"]
    return (
        len(arrays) == len(plain)
        and all(np.isin(a, (-1, 1)).all() for a in arrays)
        and any((a < 0).any() for a in arrays)
    )


def _answers(name: str, rows: np.ndarray) -> np.ndarray:
    """Return 0 and 1, uint8; raise DataError for other values."""
    other = np.ones(rows.shape, bool) if rows.dtype.kind == "U" else (rows != 0) & (rows != 1)
    if other.any():
        place, value = first_of(name, rows, other)
        numbers = rows.dtype.kind != "U" and rows.shape[1] > 1
        remedy = f"say --task {'regress' if numbers else 'classify'}"
        raise DataError(f"{place} is {value}; wanted 0 or 1 for each label: {remedy}")
    return rows.astype(np.uint8)


def _signs(name: str, rows: np.ndarray) -> np.ndarray:
    """Return -1 and 1 as 0 and 1, uint8."""
    return _answers(name, (rows + 1) // 2 if rows.dtype.kind == "i" else (rows + 1) / 2)


def _measures(name: str, rows: np.ndarray) -> np.ndarray:
    """Return numbers as float32; raise DataError for what is no number, or cannot be held in float32."""
    if rows.dtype.kind in "Ub":
        what, task = (TEXT, "classify") if rows.dtype.kind == "U" else (BOOLEAN, "multilabel")
        raise DataError(f"the labels {name} are {what}; wanted numbers: say --task {task}")
    with np.errstate(over="ignore"):
        found = rows.astype(np.float32)
    if not np.isfinite(found).all():
        place, value = first_of(name, rows, ~np.isfinite(found))
        remedy = (
            "leave out the images without one" if not np.isfinite(value) else "store them in another unit"
        )
        raise DataError(f"{place} is {value:g}; wanted finite numbers of float32: {remedy}")
    _require_resolution(name, rows, found)
    return found


def _require_resolution(name: str, rows: np.ndarray, found: np.ndarray) -> None:
    """Raise DataError if float32 does not resolve how a column varies, as in years with fractions of seconds."""
    wide = rows.astype(np.float64)
    errors, spread = np.abs(wide - found).max(axis=0), wide.std(axis=0)
    for column in np.flatnonzero(errors > RESOLUTION * spread):
        if spread[column]:
            values = f"column {column} of {name} varies by {spread[column]:.3g} around {wide[0, column]:.9g}"
            raise DataError(f"{values}, which float32 cannot resolve: subtract a constant from it")


_CONVERTERS = {ANSWERS: _answers, SIGNS: _signs, MEASURES: _measures}
