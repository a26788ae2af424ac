"""The labels that a user gives to a net from Python: whether they are what its task takes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from distcnn.config.tasks import Task
from distcnn.config.types import CLASSIFY, MULTILABEL, REGRESS
from distcnn.errors import NetError
from distcnn.system.counts import counted


def checked_labels(task: Task, labels: npt.ArrayLike, samples: int, outputs: int) -> np.ndarray:
    """Return labels as the array [n] or [n, outputs] that the loss takes; raise NetError if they are something else.

    samples: the number of images.
    outputs: of the net; for one output, rows may be given as [n].
    """
    array = np.asarray(labels)
    kinds, wanted, check = _CHECKS[task.name]
    if task.has_rows and outputs == 1 and array.shape == (samples,):
        array = array[:, None]
    if array.shape != (samples, *task.label_shape(outputs)) or array.dtype.kind not in kinds:
        found = f"labels have shape {array.shape} of {array.dtype}"
        raise NetError(f"{found}; wanted {wanted.format(counted(samples, 'integer'), samples, outputs)}")
    if array.size:
        check(array, outputs)
    return array


def _check_classes(labels: np.ndarray, outputs: int) -> None:
    if not (labels.min() >= 0 and labels.max() < outputs):
        found = f"labels go from {labels.min()} to {labels.max()}"
        raise NetError(f"{found}; the net has classes 0 to {outputs - 1}")


def _check_answers(labels: np.ndarray, outputs: int) -> None:
    if not np.isin(labels, (0, 1)).all():
        raise NetError(f"labels go from {labels.min()} to {labels.max()}; wanted 0 and 1 alone")


def _check_numbers(labels: np.ndarray, outputs: int) -> None:
    if not np.isfinite(labels).all():
        raise NetError("labels are not all finite; wanted numbers")


# By task: the kinds of types of NumPy, what is wanted in words, and what raises NetError for a wrong value.
_CHECKS = {
    CLASSIFY: ("iu", "{0}", _check_classes),
    MULTILABEL: ("biuf", "0 and 1 of shape ({1}, {2})", _check_answers),
    REGRESS: ("iuf", "numbers of shape ({1}, {2})", _check_numbers),
}
