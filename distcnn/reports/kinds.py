"""The report on each task, declared here once: what it collects, how it reads, and its pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from distcnn.config.types import CLASSIFY, MULTILABEL, REGRESS
from distcnn.parallel.comm import Comm
from distcnn.reports import (
    calibration_picture,
    confusion_picture,
    label_picture,
    mistakes_picture,
    scatter_picture,
    text,
)
from distcnn.reports.classification import Classification
from distcnn.reports.multilabel import Multilabel
from distcnn.reports.regression import Regression
from distcnn.reports.subject import Subject

Record = dict[str, Any]
Picture = Callable[[Record, np.ndarray, str], bytes]  # of a record, the images of the mistakes, and a title


class Collects(Protocol):
    """Collects what a report needs; see `training.metrics.Collector`."""

    def add(
        self, outputs: np.ndarray, probabilities: np.ndarray | None, labels: np.ndarray, samples: np.ndarray
    ) -> None: ...
    def merge(self, comm: Comm) -> None: ...
    @property
    def numbers(self) -> dict[str, float | None]: ...
    @property
    def record(self) -> Record: ...


class Kind(NamedTuple):
    """The report on a task.

    collect: returns an object that collects what the report needs.
    lines: lines(record, width) yields the report as lines of at most so many columns.
    pictures: makes the bytes of a PNG file, by its name.
    """

    collect: Callable[[Subject], Collects]
    lines: Callable[[Record, int], Iterator[str]]
    pictures: Mapping[str, Picture]


KINDS = {
    CLASSIFY: Kind(
        Classification,
        text.of_classes,
        {
            "confusion.png": lambda record, images, title: confusion_picture.draw(record, title),
            "calibration.png": lambda record, images, title: calibration_picture.of_classes(record, title),
            "mistakes.png": mistakes_picture.of_classes,
        },
    ),
    MULTILABEL: Kind(
        Multilabel,
        text.of_labels,
        {
            "labels.png": lambda record, images, title: label_picture.draw(record, title),
            "calibration.png": lambda record, images, title: calibration_picture.of_labels(record, title),
            "mistakes.png": mistakes_picture.of_labels,
        },
    ),
    REGRESS: Kind(
        Regression,
        text.of_targets,
        {
            "scatter.png": lambda record, images, title: scatter_picture.draw(record, title),
            "mistakes.png": mistakes_picture.of_targets,
        },
    ),
}
