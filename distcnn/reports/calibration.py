"""How far the probabilities of a net can be trusted: expected calibration error (Guo et al. 2017, section 2)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from distcnn.numerics.fixed_point import QUANTUM
from distcnn.parallel.comm import Comm
from distcnn.reports.confusion import Number

BINS = 15  # of equal width, as in the paper: bin k has the probabilities in (k / 15, (k + 1) / 15]


class Calibration:
    """Counts predictions by their probability, with the sums of these probabilities; all sums are exact.

    samples: how many predictions are in each bin.
    right: how many of them are right.
    probability: the sum of their probabilities, in quanta of 2**-36.
    """

    def __init__(self) -> None:
        self.samples, self.right, self.probability = (
            np.zeros(BINS, object) for _ in range(3)
        )  # without a limit

    def add(self, probability: np.ndarray, right: np.ndarray) -> None:
        """Count predictions.

        probability: what the net says is the probability that the prediction is right, float32 [n], 0 to 1.
        right: whether it is, bool [n].
        """
        exact = probability.astype(np.float64)
        bins = np.clip(np.ceil(exact * BINS).astype(np.int64) - 1, 0, BINS - 1)
        quanta = np.rint(exact / QUANTUM)
        self.samples += _by_bin(bins, None)
        self.right += _by_bin(bins, right)
        self.probability += _by_bin(bins, quanta)

    def merge(self, comm: Comm) -> None:
        """Count on every rank what all ranks have counted. Collective."""
        parts = comm.allgather([each.tolist() for each in (self.samples, self.right, self.probability)])
        self.samples, self.right, self.probability = np.sum(np.array(parts, object), axis=0)

    @property
    def error(self) -> Number:
        """The expected calibration error: |fraction right - mean probability| of its bin, averaged over predictions."""
        total = sum(self.samples)
        gaps = [abs(right - p * QUANTUM) for right, p in zip(self.right, self.probability, strict=True)]
        return math.fsum(gaps) / total if total else None

    @property
    def record(self) -> dict[str, Any]:
        """The bins as an object for JSON: predictions, mean probability and fraction that is right; null if empty."""
        rows = list(zip(self.samples, self.right, self.probability, strict=True))
        return {
            "samples": [int(n) for n, _, _ in rows],
            "probability": [p * QUANTUM / n if n else None for n, _, p in rows],
            "accuracy": [right / n if n else None for n, right, _ in rows],
        }


def _by_bin(bins: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Return the sums of whole numbers below 2**49 by bin; without weights the number of entries."""
    return np.bincount(bins, weights, BINS).astype(np.int64).astype(object)
