"""What labels mean: numbers and names of classes from the values that stand for them. NumPy in, NumPy out.

Values are looked at before they get a name: rows of 0 and 1 are one-hot only if each has exactly one 1. `understand`
looks at the labels of all splits together, so that one value is one class everywhere; `Coding.numbers` then converts
the labels of a split, whole or in pieces. Both raise DataError, whose message begins with the name of the array.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from distcnn.config.tasks import TASKS
from distcnn.config.types import CLASSIFY
from distcnn.data.label_values import (
    BOOLEAN,
    MAX_CLASSES,
    NUMBERS,
    ONE_HOT,
    TEXT,
    flattened,
    kind_of,
    label_value_problem,
    of_one_hot,
    whole,
)
from distcnn.errors import DataError

SIGNS, MAPPED = "-1 and 1", "mapped"  # further kinds of numbers


@dataclass(frozen=True)
class Coding:
    """How the values of labels become what training sees: here, numbers of classes.

    kind: what the values are, one of the constants above.
    classes: the names of the classes, or None if they have only numbers.
    values: for SIGNS, TEXT and MAPPED the value of each class.
    task: the name of the task that the labels are for.
    """

    kind: str
    classes: tuple[str, ...] | None = None
    values: tuple = ()
    task: str = CLASSIFY

    def array(self, n: int) -> tuple[tuple[int, ...], np.dtype]:
        """Return the shape and the type of the labels of n samples, as training sees them."""
        task = TASKS[self.task]
        return (n, *task.label_shape(len(self.classes or ()))), np.dtype(task.dtype)

    def numbers(self, name: str, labels: np.ndarray, n: int) -> np.ndarray:
        """Return the numbers of the classes of n samples, int64 [n].

        name: of the array, for messages.
        labels: the array as it is stored.
        """
        plain = whole(name, flattened(name, labels, n))
        _require_kind(name, self.kind, kind_of(name, plain))
        if self.kind == ONE_HOT:
            return of_one_hot(name, plain)
        if self.kind in (SIGNS, TEXT, MAPPED):
            return self._positions(name, plain)
        problem = label_value_problem(name, plain, self.classes)
        if problem:
            raise DataError(problem)
        return plain.astype(np.int64)

    def _positions(self, name: str, plain: np.ndarray) -> np.ndarray:
        """Return the position among `values` of each label; raise DataError for one that is not there."""
        place = {value: number for number, value in enumerate(self.values)}
        found, inverse = np.unique(plain, return_inverse=True)
        numbers = np.array([place.get(value, -1) for value in found.tolist()], np.int64)[inverse.reshape(-1)]
        if (numbers < 0).any():
            first = int((numbers < 0).argmax())
            known = ", ".join(map(str, self.values[:3])) + ", ..." * (len(self.values) > 3)
            value = repr(plain[first].item())[:50]
            raise DataError(f"{name}[{first}] is {value}; wanted one of {len(self.values)} classes, {known}")
        return numbers


def understand(
    labels: Mapping[str, np.ndarray],
    counts: Mapping[str, int],
    names: Sequence[str] | None = None,
    mapped: bool = False,
) -> Coding:
    """Return how labels become numbers of classes.

    labels: the arrays as they are stored, of all splits, by their names.
    counts: by the same names, how many samples each array labels.
    names: the names of the classes, if the source has them.
    mapped: whether each value that is there is a class of its own, in increasing order.
    """
    plain = {name: whole(name, flattened(name, array, counts[name])) for name, array in labels.items()}
    kinds = {name: kind_of(name, array) for name, array in plain.items()}
    first, kind = next(iter(kinds.items()))
    for name, other in kinds.items():
        if other != kind:
            raise DataError(f"the labels {name} are {other}, those in {first} are {kind}: store both alike")
    if kind == TEXT:
        return _text_coding(plain, names)
    if mapped and kind == NUMBERS:
        return _mapped_coding(plain, names)
    if kind == NUMBERS and set(_distinct(plain)) == {-1, 1}:
        return Coding(SIGNS, _two(names, ("-1", "1")), (-1, 1))
    coding = Coding(kind, _plain_names(kind, plain, names))
    for name, array in plain.items():
        problem = label_value_problem(name, _class_numbers(name, array), coding.classes)
        if problem:
            raise DataError(problem)
    return coding


def _class_numbers(name: str, plain: np.ndarray) -> np.ndarray:
    """Return the numbers of classes in labels that are numbers, one-hot or boolean, [n]."""
    return of_one_hot(name, plain) if plain.ndim == 2 else plain


def _require_kind(name: str, wanted: str, found: str) -> None:
    """Raise DataError unless labels are of the kind that was understood."""
    same = {SIGNS: NUMBERS, MAPPED: NUMBERS}
    if same.get(wanted, wanted) != found:
        raise DataError(f"the labels {name} are {found}; wanted {wanted}, as before: name other labels")


# ---- kinds ----


def _distinct(plain: Mapping[str, np.ndarray]) -> list:
    """Return the distinct values of all arrays, sorted."""
    return sorted(set().union(*(np.unique(array).tolist() for array in plain.values())))


def _text_coding(plain: Mapping[str, np.ndarray], names: Sequence[str] | None) -> Coding:
    """Return the coding of text: the names of the classes in their order if there are any, else the sorted texts."""
    found = names if names is not None else sorted(_distinct(plain), key=natural)
    coding = Coding(TEXT, tuple(found), tuple(found))
    _require_few(next(iter(plain)), found)
    for name, array in plain.items():
        coding._positions(name, array)
    return coding


def _mapped_coding(plain: Mapping[str, np.ndarray], names: Sequence[str] | None) -> Coding:
    """Return the coding in which each value is a class, in increasing order.

    Names that are these values, as those of a run are, say which class each is; as many names as values name them.
    """
    values = _distinct(plain)
    _require_few(next(iter(plain)), values)
    texts = tuple(map(str, values))
    if names is not None and set(texts) <= set(names):
        return Coding(MAPPED, tuple(names), tuple(map(int, names)) if _all_whole(names) else tuple(values))
    same = names is not None and len(names) == len(values)
    return Coding(MAPPED, _tuple(names) if same else texts, tuple(values))


def natural(name: str) -> tuple[int, int, str]:
    """Return the sort key of a class: numbers come first, by their value, then names."""
    return (0, int(name), name) if name.isdecimal() and name.isascii() and len(name) < 20 else (1, 0, name)


def _all_whole(names: Sequence[str]) -> bool:
    return all(name.removeprefix("-").isdecimal() and name.isascii() for name in names)


def _require_few(name: str, values: Sequence) -> None:
    if len(values) > MAX_CLASSES:
        raise DataError(
            f"{name} has {len(values):,} different values; wanted at most {MAX_CLASSES:,} classes"
        )


def _plain_names(
    kind: str, plain: Mapping[str, np.ndarray], names: Sequence[str] | None
) -> tuple[str, ...] | None:
    """Return the names of classes whose numbers the labels hold; None where only the numbers name them."""
    if kind == BOOLEAN:
        return _two(names, ("False", "True"))
    if kind == ONE_HOT and names is None:
        return tuple(map(str, range(max(array.shape[1] for array in plain.values()))))
    return _tuple(names)


def _two(names: Sequence[str] | None, otherwise: tuple[str, str]) -> tuple[str, ...]:
    """Return the names of two classes: those of the source if it has two."""
    return tuple(names) if names is not None and len(names) == 2 else otherwise


def _tuple(names: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(names)
