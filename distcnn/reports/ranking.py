"""Average precision: how far the samples with a label come before those without, when they are sorted by score."""

from __future__ import annotations

import math

import numpy as np

from distcnn.parallel.comm import Comm
from distcnn.reports.confusion import Number


class Ranking:
    """Keeps the scores of all samples of a rank for each label: five bytes for a score.

    labels: how many there are.

    average_precision: of each label, the same on every rank after `merge`; None for a label without samples.
    """

    def __init__(self, labels: int) -> None:
        self._labels = labels
        self._scores: list[np.ndarray] = []
        self._answers: list[np.ndarray] = []
        self.average_precision: list[Number] = []

    def add(self, scores: np.ndarray, answers: np.ndarray) -> None:
        """Keep some samples.

        scores: float32 [n, labels].
        answers: whether the samples have the labels, 0 or 1 [n, labels].
        """
        self._scores.append(scores.copy())
        self._answers.append(answers.astype(bool))

    def merge(self, comm: Comm) -> None:
        """Compute the average precision over the samples of all ranks, each of a label on one rank. Collective."""
        scores = np.concatenate([np.zeros((0, self._labels), np.float32), *self._scores])
        answers = np.concatenate([np.zeros((0, self._labels), bool), *self._answers])
        own: dict[int, Number] = {}
        for k in range(self._labels):
            parts = comm.gather((scores[:, k].copy(), answers[:, k].copy()), k % comm.size)
            if parts:
                own[k] = average_precision(*(np.concatenate(part) for part in zip(*parts, strict=True)))
        found = {k: value for part in comm.allgather(own) for k, value in part.items()}
        self.average_precision = [found[k] for k in range(self._labels)]


def average_precision(scores: np.ndarray, answers: np.ndarray) -> Number:
    """Return the sum over all thresholds of precision times the increase in recall; None if no answer is true.

    Samples with the same score are on the same side of every threshold, as in scikit-learn's
    average_precision_score. The sum is rounded once, so that the order of the samples does not matter.

    scores: float32 [n].
    answers: bool [n].
    """
    order = np.argsort(-scores, kind="stable")
    sorted_scores, right = scores[order], np.cumsum(answers[order])
    last = np.flatnonzero(np.append(sorted_scores[1:] != sorted_scores[:-1], True)) if len(scores) else []
    true = int(right[-1]) if len(scores) else 0
    if not true:
        return None
    at = right[last]
    gained = np.diff(at, prepend=0)
    return math.fsum((gained * (at / (np.array(last) + 1)) / true).tolist())
