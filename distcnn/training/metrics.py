"""The metrics that an evaluation measures besides loss and accuracy; each metric is declared only in `METRICS`.

A metric is a function count(logits, labels) of one block, float32 [n, classes] and int [n], that returns a whole
number. The numbers are added up over all blocks and divided by the number of samples, so that any number of ranks gives
the same result. `METRICS` gives each metric a name, under which metrics.jsonl has it as test_NAME and validation_NAME,
and `distcnn.evaluate` prints it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Count = Callable[[np.ndarray, np.ndarray], int]

METRICS: dict[str, Count] = {}
