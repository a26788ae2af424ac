"""A report on a split, on the rank that writes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from distcnn.data.splits import Split

LARGEST = 256  # pixels of the longer side of an image as it is shown


@dataclass(frozen=True)
class Report:
    """What an evaluation has found.

    record: an object for JSON; its `mistakes` have the numbers of the worst samples.
    measured: loss and metrics, which the record has, too.
    split: the samples.
    """

    record: dict[str, Any]
    measured: dict[str, float | None]
    split: Split

    @property
    def images(self) -> np.ndarray:
        """The images of the worst samples, [n, c, h, w], of large ones every other row and column, or fewer.

        Raises DataError if images of a file that is streamed cannot be read.
        """
        samples = np.array([row["sample"] for row in self.record["mistakes"]], np.int64)
        found = self.split.images[samples]
        step = -(-max(found.shape[2:]) // LARGEST)
        return found[:, :, ::step, ::step]
