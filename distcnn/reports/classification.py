"""What an evaluation says of a net that classifies."""

from __future__ import annotations

from typing import Any

import numpy as np

from distcnn.parallel.comm import Comm
from distcnn.reports.calibration import Calibration
from distcnn.reports.confusion import Confusion, Number, mean, scores
from distcnn.reports.mistakes import Worst
from distcnn.reports.subject import Subject

TOP = (1, 2, 3, 5, 10)  # of how many of the most probable classes one is the right one
LARGEST = 1000  # classes; the confusion matrix of more is left out
PAIRS = 20  # of classes that are most often confused, which are listed


class Classification:
    """Collects what the report on such a net needs."""

    def __init__(self, subject: Subject) -> None:
        self.classes = classes = subject.names
        self.confusion, self.calibration = Confusion(len(classes)), Calibration()
        self.worst = Worst("label", "predicted", "probability", "label_probability")
        self._places = np.zeros(len(classes), np.int64)  # how many samples have their label at this place

    def add(
        self, outputs: np.ndarray, probabilities: np.ndarray | None, labels: np.ndarray, samples: np.ndarray
    ) -> None:
        """Take some samples into account; see `training.metrics.Collector`."""
        assert probabilities is not None
        rows, predicted = np.arange(len(labels)), np.argmax(outputs, axis=1)
        sure, hoped = probabilities[rows, predicted], probabilities[rows, labels]
        wrong = predicted != labels
        self.confusion.add(labels, predicted)
        self.calibration.add(sure, ~wrong)
        self._places += np.bincount(places(outputs, labels), minlength=len(self.classes))
        values = labels, predicted, sure, hoped
        self.worst.add(-hoped[wrong], samples[wrong], *(each[wrong] for each in values))

    def merge(self, comm: Comm) -> None:
        """Take into account, on rank 0, what all ranks have collected. Collective."""
        for each in (self.confusion, self.calibration, self.worst):
            each.merge(comm)
        comm.Allreduce(None, self._places)

    @property
    def numbers(self) -> dict[str, Number]:
        """Nothing beyond loss, accuracy and the counted metrics."""
        return {}

    @property
    def record(self) -> dict[str, Any]:
        """The report as an object for JSON."""
        confusion, n = self.confusion, len(self.classes)
        counts = confusion.support, confusion.predictions, confusion.right
        found = scores(*counts)
        return {
            "balanced_accuracy": mean(found["recall"]),
            "macro_f1": mean(found["f1"]),
            "calibration_error": self.calibration.error,
            "top_accuracy": self._top(),
            "classes": list(self.classes),
            **found,
            "support": counts[0].tolist(),
            "predictions": counts[1].tolist(),
            "confused": confusion.mistakes(PAIRS),
            "confusion": confusion.matrix.tolist() if n <= LARGEST else None,
            "calibration": self.calibration.record,
            "mistakes": self.worst.record,
        }

    def _top(self) -> dict[str, float]:
        """Return for some k the fraction of the samples whose label is among the k most probable classes."""
        total, so_far = max(int(self._places.sum()), 1), np.cumsum(self._places)
        return {str(k): int(so_far[k - 1]) / total for k in TOP if k < len(self.classes)}


def places(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the place of each label, int [n]: how many classes come before it, in the order of their logits.

    Of equal logits that of the lower class comes first, so that place 0 is the predicted class.

    logits: float32 [n, classes].
    labels: int [n].
    """
    own = logits[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(logits.shape[1]) < labels[:, None]
    return np.sum((logits > own) | ((logits == own) & earlier), axis=1)
