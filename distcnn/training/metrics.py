"""What an evaluation measures besides loss and accuracy; each metric is declared here, and nowhere else.

A metric is a function count(logits, labels) of one block, float32 [n, classes] and int [n], that returns a whole
number. The numbers are added up over all blocks and divided by the samples, so that any number of ranks gives the same
result. Its name appears in metrics.jsonl, as test_NAME and validation_NAME, and in what `distcnn.evaluate` prints.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Count = Callable[[np.ndarray, np.ndarray], int]

METRICS: dict[str, Count] = {}
