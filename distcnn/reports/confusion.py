"""Which class is taken for which: counts of pairs (label, predicted class), so that many classes need little memory."""

from __future__ import annotations

import math

import numpy as np

from distcnn.parallel.comm import Comm

PENDING = 4096  # blocks whose pairs are kept before they are counted

Number = float | None  # None where a fraction has the denominator 0


class Confusion:
    """Counts the pairs (label, predicted class) of samples.

    classes: how many classes there are.

    codes: the pairs that occur, in order, each as label * classes + predicted class, int64.
    counts: how often each of them occurs, int64.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.codes = self.counts = np.zeros(0, np.int64)
        self._pending: list[np.ndarray] = []

    def add(self, labels: np.ndarray, predicted: np.ndarray) -> None:
        """Count samples; labels and predicted: of their classes, int [n]."""
        self._pending.append(labels.astype(np.int64) * self.classes + predicted)
        if len(self._pending) == PENDING:
            self._count()

    def merge(self, comm: Comm) -> None:
        """Count on rank 0 what all ranks have counted. Collective."""
        self._count()
        parts = comm.gather((self.codes, self.counts))
        if parts:
            self._set(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    @property
    def labels(self) -> np.ndarray:
        """The label of each pair, int64."""
        return self.codes // self.classes

    @property
    def predicted(self) -> np.ndarray:
        """The predicted class of each pair, int64."""
        return self.codes % self.classes

    @property
    def support(self) -> np.ndarray:
        """How many samples each class has, int64 [classes]."""
        return self._sums(self.labels, self.counts)

    @property
    def predictions(self) -> np.ndarray:
        """How many samples each class is predicted for, int64 [classes]."""
        return self._sums(self.predicted, self.counts)

    @property
    def right(self) -> np.ndarray:
        """How many samples of each class are predicted to be of it, int64 [classes]."""
        return self._sums(self.labels, np.where(self.labels == self.predicted, self.counts, 0))

    @property
    def matrix(self) -> np.ndarray:
        """The confusion matrix, int64 [classes, classes]: rows are labels, columns are predicted classes."""
        made = np.zeros(self.classes**2, np.int64)
        made[self.codes] = self.counts
        return made.reshape(self.classes, self.classes)

    def mistakes(self, most: int) -> list[tuple[int, int, int]]:
        """Return the most frequent wrong pairs as (label, predicted class, count), the most frequent first."""
        wrong = np.flatnonzero(self.labels != self.predicted)
        first = wrong[np.argsort(-self.counts[wrong], kind="stable")[:most]]
        columns = self.labels[first], self.predicted[first], self.counts[first]
        return list(zip(*(column.tolist() for column in columns), strict=True))

    def _count(self) -> None:
        """Count the pending pairs."""
        codes = np.concatenate([self.codes, *self._pending])
        ones = np.ones(len(codes) - len(self.codes), np.int64)
        self._pending = []
        self._set(codes, np.concatenate([self.counts, ones]))

    def _set(self, codes: np.ndarray, counts: np.ndarray) -> None:
        """Set the counts; a pair may occur several times, whose counts are then added up."""
        self.codes, place = np.unique(codes, return_inverse=True)
        self.counts = np.zeros(len(self.codes), np.int64)
        np.add.at(self.counts, place.reshape(-1), counts)

    def _sums(self, classes: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Return the sums of counts by class, int64 [classes]."""
        sums = np.zeros(self.classes, np.int64)
        np.add.at(sums, classes, counts)
        return sums


def scores(support: np.ndarray, predictions: np.ndarray, right: np.ndarray) -> dict[str, list[Number]]:
    """Return precision, recall and F1 of each class or label.

    support: how many samples have it.
    predictions: for how many it is predicted.
    right: for how many both is so.

    A fraction is None where its denominator is 0: precision without predictions, recall without samples, F1 without
    either. F1 = 2 right / (support + predictions), the harmonic mean of the other two.
    """
    return {
        "precision": fractions(right, predictions),
        "recall": fractions(right, support),
        "f1": fractions(2 * right, support + predictions),
    }


def fractions(above: np.ndarray, below: np.ndarray) -> list[Number]:
    """Return above / below; None where below is 0."""
    return [a / b if b else None for a, b in zip(above.tolist(), below.tolist(), strict=True)]


def mean(values: list[Number]) -> Number:
    """Return the mean of the values that are not None; None if there are none."""
    found = [value for value in values if value is not None]
    return math.fsum(found) / len(found) if found else None
