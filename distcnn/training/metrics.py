"""The metrics that an evaluation measures besides loss and accuracy; each metric is declared only here.

A metric is a function count(outputs, labels) of one block that returns a whole number. The numbers are added up over
all blocks and divided by the number of samples, so that any number of ranks gives the same result. The tables below
give each metric a name, under which metrics.jsonl has it as test_NAME and validation_NAME, and `distcnn.evaluate`
prints it. What is no such mean is measured by a `Collector`.

Both get the outputs of a block, float32 [n, outputs]: logits, or, if the task standardizes its targets, predictions in
the unit of the targets. Labels are [n] or [n, outputs], as `config.tasks` describes them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from distcnn.config.tasks import Task
from distcnn.config.types import CLASSIFY, MULTILABEL, REGRESS
from distcnn.parallel.comm import Comm
from distcnn.reports.classification import places
from distcnn.reports.multilabel import LabelScores
from distcnn.reports.regression import TargetErrors
from distcnn.reports.subject import Subject

Count = Callable[[np.ndarray, np.ndarray], int]


class Collector(Protocol):
    """Collects from all blocks of a rank what a report on a split needs; the threads of a rank use one in turns."""

    def add(
        self, outputs: np.ndarray, probabilities: np.ndarray | None, labels: np.ndarray, samples: np.ndarray
    ) -> None:
        """Take some samples into account.

        outputs: float32 [n, outputs], as above.
        probabilities: float32 [n, outputs]; None if the task has none.
        labels: [n] or [n, outputs].
        samples: the numbers of the samples in the split, int64 [n].
        """

    def merge(self, comm: Comm) -> None:
        """Take into account what all ranks have collected: `numbers` are the same on every rank then. Collective."""

    @property
    def numbers(self) -> dict[str, float | None]:
        """Metrics by name; None for one that these samples do not define."""


METRICS: dict[str, Count] = {}  # of the task classify
OF_LABELS: dict[str, Count] = {}
OF_TARGETS: dict[str, Count] = {}
METRICS_OF = {CLASSIFY: METRICS, MULTILABEL: OF_LABELS, REGRESS: OF_TARGETS}  # by task
MANY = 10  # classes; with more of them the top 5 are counted, too

COLLECTORS: dict[str, Callable[[Subject], Collector]] = {  # of what is no mean of counts, by task
    MULTILABEL: LabelScores,
    REGRESS: TargetErrors,
}


def metrics_of(task: Task, outputs: int) -> dict[str, Count]:
    """Return the metrics of a net, by name; outputs: how many it has."""
    more = {"top5_accuracy": top5} if task.name == CLASSIFY and outputs > MANY else {}
    return METRICS_OF[task.name] | more


def top5(logits: np.ndarray, labels: np.ndarray) -> int:
    """Return how many samples have their label among the five largest logits; of equal ones the first are larger."""
    return int(np.count_nonzero(places(logits, labels) < 5))
