"""What an evaluation says of a net that predicts numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distcnn.numerics.fixed_point import QUANTUM, SUM_BITS
from distcnn.parallel.comm import Comm
from distcnn.reports.confusion import Number, mean
from distcnn.reports.mistakes import Worst
from distcnn.reports.subject import Subject

POINTS, NUMBERS = 1000, 5000  # samples that the scatter has at most, and numbers, but some samples at least
FEWEST = 100

# Rows of sums, by target: |error|, error**2, target, target**2.
ABSOLUTE, SQUARED, TARGET, TARGET_SQUARED = range(4)


class TargetErrors:
    """Measures the errors of predicted numbers; what every evaluation of such a net needs.

    Errors and targets are divided by the standard deviation of the targets of the training, and added as multiples of
    2**-36, whole numbers without a limit, so that the sums do not depend on their order.

    sums: in quanta of 2**-36, object [4, targets].
    limits: the smallest and the largest value of each target, float64 [2, targets].
    samples: how many there are.
    """

    def __init__(self, subject: Subject) -> None:
        self._mean, self.std = subject.targets.astype(np.float64)
        self.sums, self.samples = np.zeros((4, len(self.std)), object), 0
        self.limits = np.repeat([[np.inf], [-np.inf]], len(self.std), axis=1)

    def add(
        self, outputs: np.ndarray, probabilities: np.ndarray | None, labels: np.ndarray, samples: np.ndarray
    ) -> None:
        """Take up to sixteen samples into account; see `training.metrics.Collector`."""
        errors, targets = self.standardized(outputs, labels)
        self.sums += _exact_sums(np.array((np.abs(errors), errors**2, targets, targets**2)))
        self.samples += len(labels)
        self._extend(labels.min(axis=0), labels.max(axis=0))

    def standardized(self, outputs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the errors of predictions, and targets, in units of the standard deviation; float64 [n, targets]."""
        targets = labels.astype(np.float64)
        return (outputs - targets) / self.std, (targets - self._mean) / self.std

    def merge(self, comm: Comm) -> None:
        """Take into account, on every rank, what all ranks have collected. Collective."""
        parts = comm.allgather((self.sums.tolist(), self.samples, self.limits))
        self.sums = np.sum([np.array(sums, object) for sums, _, _ in parts], axis=0)
        self.samples = sum(samples for _, samples, _ in parts)
        for _, _, limits in parts:
            self._extend(*limits)

    @property
    def numbers(self) -> dict[str, Number]:
        """The means over all targets: of the mean absolute error, in their units, and of R2."""
        found = self.by_target
        return {name: mean(found[name]) for name in ("mean_absolute_error", "r2")}

    @property
    def by_target(self) -> dict[str, list[Number]]:
        """Mean absolute error and root mean squared error, in the units of the targets, and R2, of each target."""
        n, equal = max(self.samples, 1), (self.limits[0] >= self.limits[1]).tolist()
        columns = list(zip(*self.sums.tolist(), equal, self.std.tolist(), strict=True))
        return {
            "mean_absolute_error": [each[ABSOLUTE] * QUANTUM / n * each[-1] for each in columns],
            "root_mean_squared_error": [
                math.sqrt(each[SQUARED] * QUANTUM / n) * each[-1] for each in columns
            ],
            "r2": [self._r2(*each[SQUARED:-1]) for each in columns],
        }

    def _r2(self, squared: int, total: int, total_squared: int, equal: bool) -> Number:
        """Return the coefficient of determination, 1 - sum of error**2 / sum of (target - mean of the targets)**2.

        squared, total, total_squared: the sums of error**2, target and target**2, in quanta.
        equal: whether all targets are equal; the result is then None.
        """
        spread = (total_squared * self.samples << SUM_BITS) - total**2
        return None if equal or not spread else 1 - (squared * self.samples << SUM_BITS) / spread

    def _extend(self, smallest: np.ndarray, largest: np.ndarray) -> None:
        """Extend the limits so that they contain values of each target."""
        self.limits = np.array((np.minimum(self.limits[0], smallest), np.maximum(self.limits[1], largest)))


def _exact_sums(values: np.ndarray) -> np.ndarray:
    """Return sums over the second of three axes, which has at most sixteen places, in quanta of 2**-36; object."""
    quanta = np.rint(values / QUANTUM)
    if np.abs(quanta).max() < 2.0**58:
        return quanta.astype(np.int64).sum(axis=1).astype(object)
    return np.vectorize(int, otypes=[object])(quanta).sum(axis=1)


class Regression:
    """Collects what the report on such a net needs."""

    def __init__(self, subject: Subject) -> None:
        self.names, self.errors = subject.names, TargetErrors(subject)
        self.worst = Worst("output", "target", "prediction")
        points = min(POINTS, max(NUMBERS // len(subject.names), FEWEST))
        self._step = max(-(-subject.samples // points), 1)
        self._points: list[tuple[int, list[float], list[float]]] = []

    def add(
        self, outputs: np.ndarray, probabilities: np.ndarray | None, labels: np.ndarray, samples: np.ndarray
    ) -> None:
        """Take the samples of a block into account; see `training.metrics.Collector`."""
        self.errors.add(outputs, probabilities, labels, samples)
        errors, rows = np.abs(self.errors.standardized(outputs, labels)[0]), np.arange(len(labels))
        worst = np.argmax(errors, axis=1)
        self.worst.add(errors[rows, worst], samples, worst, labels[rows, worst], outputs[rows, worst])
        for k in np.flatnonzero(samples % self._step == 0).tolist():
            self._points.append((int(samples[k]), labels[k].tolist(), outputs[k].tolist()))

    def merge(self, comm: Comm) -> None:
        """Take into account, on every rank, what all ranks have collected. Collective."""
        self.errors.merge(comm)
        self.worst.merge(comm)
        self._points = sorted(point for part in comm.allgather(self._points) for point in part)

    @property
    def numbers(self) -> dict[str, Number]:
        """As those of `TargetErrors`."""
        return self.errors.numbers

    @property
    def record(self) -> dict[str, Any]:
        """The report as an object for JSON."""
        samples, targets, predictions = (list(each) for each in zip(*self._points, strict=True))
        return {
            "targets": list(self.names),
            "by_target": self.errors.by_target,
            "scatter": {"sample": samples, "target": targets, "prediction": predictions},
            "mistakes": self.worst.record,
        }
