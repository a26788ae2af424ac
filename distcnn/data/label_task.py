"""Which task labels are for: as the user says, else what follows from their values for certain; what is open is asked.

Labels of one number or text a sample are classes, unless a number has a fraction: then they are measures. Rows of 0 and
1 are several labels if some row has two 1. If each row has exactly one, they may be classes, or labels of which no
sample happens to have two. They are taken for classes if the file names its classes, or if many samples show it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from distcnn.config.tasks import TASKS
from distcnn.config.types import AUTO, CLASSIFY, MULTILABEL, REGRESS
from distcnn.data.label_rows import Plain, understand_rows
from distcnn.data.label_values import are_measures, first_of, flattened
from distcnn.data.labels import Coding, understand
from distcnn.errors import DataError

# How many samples must have exactly one label, the most frequent label not counted, as it may stand for "nothing else".
# Where one sample in ten had two, there would be none among so many with a probability of 0.5 %.
MANY = 50
NEAR_ONE = 1e-3  # how far the sum of probabilities may be from 1


def understand_task(
    task: str,
    labels: Mapping[str, np.ndarray],
    counts: Mapping[str, int],
    names: Sequence[str] | None = None,
    mapped: bool = False,
) -> Coding:
    """Return how labels become what training sees.

    task: the name of the task, or AUTO to infer it.
    labels: the arrays as they are stored, of all splits, by their names.
    counts: by the same names, how many samples each array labels.
    names: the names of the classes, labels or targets, if the source has them.
    mapped: whether each value that is there is a class of its own, in increasing order.

    Raises DataError, whose message begins with the name of the array, if the task is open, or the labels do not fit it.
    """
    if mapped and task not in (AUTO, CLASSIFY):
        raise DataError(f"--map-labels makes classes of values: leave it out, or --task {task}")
    if mapped or task == CLASSIFY:
        return understand(labels, counts, names, mapped)
    plain = {name: flattened(name, array, counts[name]) for name, array in labels.items()}
    task = inferred(plain, names) if task == AUTO else task
    if not TASKS[task].has_rows:
        return understand(labels, counts, names)
    return understand_rows(task, plain, names)


def inferred(plain: Plain, names: Sequence[str] | None) -> str:
    """Return the task that the values of flattened labels show; raise DataError if they leave it open.

    names: those of classes, labels or targets, if the source has them.
    """
    name, first = next(iter(plain.items()))
    if any(array.dtype.kind == "U" or array.shape[1:] != first.shape[1:] for array in plain.values()):
        return CLASSIFY  # text, or labels that differ, which is refused then
    if first.ndim == 1:
        return _of_numbers(plain, names is not None and len(names) > 1)
    rows = np.concatenate(list(plain.values()))
    if np.isin(rows, (0, 1)).all():
        return _of_answers(name, rows == 1, names is not None)
    if np.isin(rows, (-1, 1)).all():
        return _of_signs(name, rows == 1)
    if _fractions(rows).any() and not _are_probabilities(rows):
        return REGRESS
    found = f"{name} has {rows.shape[1]} numbers a sample, such as {rows[0].tolist()[:4]}"
    raise DataError(f"{found}: say --task regress to predict them all, or store the class of each sample")


def _fractions(plain: np.ndarray) -> np.ndarray:
    """Return which labels are numbers with a fraction, bool of the same shape."""
    return are_measures(plain) & np.isfinite(plain)


def _of_numbers(plain: Plain, named: bool) -> str:
    """Return the task of labels of one number a sample; raise DataError for measures in a file that names classes.

    named: whether the file names several.
    """
    for name, array in plain.items():
        fractions = _fractions(array)
        if fractions.any():
            if named:
                place, value = first_of(name, array, fractions)
                remedy = "remove the names, as in del file.attrs['classes'], to predict numbers"
                raise DataError(f"{place} is {value:g}, a measure, but the file names classes: {remedy}")
            return REGRESS
    return CLASSIFY


def _of_answers(name: str, ones: np.ndarray, named: bool) -> str:
    """Return the task of rows of 0 and 1; raise DataError if they leave it open.

    ones: bool [n, k].
    named: whether the file names classes.
    """
    counts = np.count_nonzero(ones, axis=1)
    if (counts > 1).any():
        return MULTILABEL
    columns, ask = ones.shape[1], "say --task multilabel if an image may have several of these labels or none"
    if (counts == 0).any():
        other = "label the images without a 1 if each is of one class"
        raise DataError(f"{name} has one 1 or none in each row of {columns}: {ask}; {other}")
    if named or len(ones) - np.count_nonzero(ones, axis=0).max() >= MANY:
        return CLASSIFY
    other = "--task classify if each is of one class"
    raise DataError(f"{name} has exactly one 1 in each row of {columns}: {ask}; {other}")


def _of_signs(name: str, ones: np.ndarray) -> str:
    """Return the task of rows of -1 and 1, as `_of_answers` does."""
    if (np.count_nonzero(ones, axis=1) > 1).any():
        return MULTILABEL
    ask = "say --task multilabel if an image may have several of these labels or none"
    raise DataError(
        f"{name} has one 1 or none in each row of {ones.shape[1]}: {ask}; store the number of its class if it has one"
    )


def _are_probabilities(rows: np.ndarray) -> bool:
    """Return whether each row may be the probabilities of classes."""
    return bool((rows >= 0).all() and (np.abs(rows.sum(axis=1, dtype=np.float64) - 1) < NEAR_ONE).all())
