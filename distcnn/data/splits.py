"""What training sees of the data: splits of images and labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from distcnn.config.types import CLASSIFY, MEMORY
from distcnn.data.description import Description


@dataclass(frozen=True)
class Split:
    """Samples for one purpose: training, validation or test."""

    images: Any  # uint8 or float32 [n, c, h, w]: an array, or a StreamedImages in stream mode
    labels: np.ndarray  # int32 [n], or uint8 or float32 [n, outputs], see `config.tasks`
    rows: Callable[[], np.ndarray] | None = (
        None  # of a part of the training samples: their numbers in the files [n]
    )


@dataclass(frozen=True)
class Dataset:
    """All samples of a dataset."""

    name: str
    fingerprint: str  # SHA-256, in hex, over all arrays: name, type, shape, values; streamed: and units
    classes: tuple[str, ...]  # the names of classes, labels or targets: what the outputs of a net stand for
    train: Split
    test: Split | None
    validation: Split | None = None
    mode: str = MEMORY
    statistics: tuple[np.ndarray, np.ndarray] | None = None  # mean and std of each training channel, if known
    pixels: str | None = None  # the stored type that says what pixels mean; None: that of the images
    description: Description | None = None  # the files that hold it; None: it was made in memory
    task: str = CLASSIFY  # what the labels are for
    pictures: str = ""  # how image files became these images, see `picture_record`

    @property
    def scale(self) -> str:
        """The name of the type that says what the values of pixels mean, such as "uint8", "float32" or "uint16"."""
        return self.pixels or self.train.images.dtype.name
