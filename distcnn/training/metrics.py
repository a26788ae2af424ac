"""The metrics that an evaluation measures besides loss and accuracy; each metric is declared only in `METRICS`.

A metric is a function count(logits, labels) of one block, float32 [n, classes] and int [n], that returns a whole
number. The numbers are added up over all blocks and divided by the number of samples, so that any number of ranks gives
the same result. `METRICS` gives each metric a name, under which metrics.jsonl has it as test_NAME and validation_NAME,
and `distcnn.evaluate` prints it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from distcnn.parallel.comm import Comm

Count = Callable[[np.ndarray, np.ndarray], int]

METRICS: dict[str, Count] = {}


class Collector(Protocol):
    """Collects from all blocks of a rank what a report on a split needs; the threads of a rank use one in turns."""

    def add(
        self, outputs: np.ndarray, probabilities: np.ndarray, labels: np.ndarray, samples: np.ndarray
    ) -> None:
        """Take some samples into account.

        outputs: float32 [n, outputs].
        probabilities: float32 [n, outputs].
        labels: int [n].
        samples: the numbers of the samples in the split, int64 [n].
        """

    def merge(self, comm: Comm) -> None:
        """Take into account, on rank 0, what all ranks have collected. Collective."""

    @property
    def record(self) -> dict[str, Any]:
        """The result as an object for JSON."""
