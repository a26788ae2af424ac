"""What training sees of the data: splits of images and labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from distcnn.config.types import MEMORY


@dataclass(frozen=True)
class Split:
    """Samples for one purpose: training, validation or test."""

    images: Any  # uint8 or float32 [n, c, h, w]: an array, or a StreamedImages in stream mode
    labels: np.ndarray  # int32 [n]


@dataclass(frozen=True)
class Dataset:
    """All samples of a file."""

    name: str
    fingerprint: (
        str  # SHA-256, in hex, over all arrays of the file: name, type, shape, values; streamed: and units
    )
    classes: tuple[str, ...]
    train: Split
    test: Split | None
    validation: Split | None = None
    mode: str = MEMORY
    statistics: tuple[np.ndarray, np.ndarray] | None = None  # mean and std of each training channel, if known
