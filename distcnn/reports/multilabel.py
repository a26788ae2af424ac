"""What an evaluation says of a net that finds the labels of images, of which an image may have several."""

from __future__ import annotations

from typing import Any

import numpy as np

from distcnn.parallel.comm import Comm
from distcnn.reports.calibration import Calibration
from distcnn.reports.confusion import Number, mean, scores
from distcnn.reports.mistakes import Worst
from distcnn.reports.ranking import Ranking
from distcnn.reports.subject import Subject


class LabelScores:
    """Measures how well labels are found; what every evaluation of such a net needs.

    counts: how many samples have each label, for how many it is predicted, and for how many both is so, int64
        [3, labels]. A label is predicted if its output is above 0, that is, its probability above 0.5.
    """

    def __init__(self, subject: Subject) -> None:
        self.counts = np.zeros((3, len(subject.names)), np.int64)
        self.ranking = Ranking(len(subject.names))

    def add(
        self, outputs: np.ndarray, probabilities: np.ndarray | None, labels: np.ndarray, samples: np.ndarray
    ) -> None:
        """Take some samples into account; see `training.metrics.Collector`."""
        has, predicted = labels == 1, outputs > 0
        self.counts += [each.sum(axis=0) for each in (has, predicted, has & predicted)]
        self.ranking.add(outputs, has)

    def merge(self, comm: Comm) -> None:
        """Take into account, on every rank, what all ranks have collected. Collective."""
        comm.Allreduce(None, self.counts)
        self.ranking.merge(comm)

    @property
    def numbers(self) -> dict[str, Number]:
        """The means over all labels: of F1, and of the average precision."""
        f1 = scores(*self.counts)["f1"]
        return {"macro_f1": mean(f1), "mean_average_precision": mean(self.ranking.average_precision)}


class Multilabel:
    """Collects what the report on such a net needs."""

    def __init__(self, subject: Subject) -> None:
        self.names = subject.names
        self.scores, self.calibration = LabelScores(subject), Calibration()
        self.worst = Worst("label", "has_label", "probability")

    def add(
        self, outputs: np.ndarray, probabilities: np.ndarray | None, labels: np.ndarray, samples: np.ndarray
    ) -> None:
        """Take some samples into account; see `training.metrics.Collector`.

        Of each sample the label whose output is farthest on the wrong side of 0 may be among the worst mistakes.
        """
        assert probabilities is not None
        has, rows = labels == 1, np.arange(len(labels))
        self.scores.add(outputs, probabilities, labels, samples)
        self.calibration.add(probabilities.ravel(), has.ravel())
        errors = np.where(has, -outputs, outputs)
        worst = np.argmax(errors, axis=1)
        found = worst, has[rows, worst], probabilities[rows, worst]
        wrong = (outputs > 0)[rows, worst] != found[1]
        self.worst.add(errors[rows, worst][wrong], samples[wrong], *(each[wrong] for each in found))

    def merge(self, comm: Comm) -> None:
        """Take into account, on every rank, what all ranks have collected. Collective."""
        for each in (self.scores, self.calibration, self.worst):
            each.merge(comm)

    @property
    def numbers(self) -> dict[str, Number]:
        """As those of `LabelScores`."""
        return self.scores.numbers

    @property
    def record(self) -> dict[str, Any]:
        """The report as an object for JSON."""
        support, predictions, _ = self.scores.counts.tolist()
        return {
            "calibration_error": self.calibration.error,
            "classes": list(self.names),
            "average_precision": self.scores.ranking.average_precision,
            **scores(*self.scores.counts),
            "support": support,
            "predictions": predictions,
            "calibration": self.calibration.record,
            "mistakes": self.worst.record,
        }
