"""What a report is about, as far as it must be known before the first sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Subject(NamedTuple):
    """The outputs of a net, and the samples that it is evaluated on.

    names: of the classes, labels or targets that the outputs stand for.
    samples: how many there are.
    targets: float32 [2, outputs], mean and standard deviation of the targets that the net has learned.
    """

    names: Sequence[str]
    samples: int
    targets: np.ndarray
