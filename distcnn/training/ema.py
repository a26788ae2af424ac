"""An exponential moving average of the weights: less noisy than the last weights, and often more accurate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from distcnn.kernels.float_mode import ieee_mode
from distcnn.kernels.optimizers import ema_update
from distcnn.numerics.portable_math import whole_power


class WeightEMA:
    """The weighted mean of the weights after each step so far; the weights of k steps ago have the weight decay**k.

    That is an exponential moving average without a bias towards its start (Kingma and Ba 2015, section 7.2). Running
    statistics are averaged in the same way.

    weights: float32, flat; all parameters, then running statistics.
    decay: 0 for no average.
    arrays: the average by its name in checkpoints; empty if there is no average.
    """

    def __init__(self, weights: np.ndarray, decay: float):
        self.weights, self.decay = weights, decay
        self.arrays = {"averages": weights.copy()} if decay else {}

    @property
    def result(self) -> np.ndarray:
        """The weights to evaluate and to predict with: the average if there is one, else the weights themselves."""
        return self.arrays.get("averages", self.weights)

    def update(self, step: int) -> None:
        """Update the average with the weights after step `step`, which counts from 1."""
        if self.arrays:
            share = (1.0 - self.decay) / (1.0 - whole_power(self.decay, step))
            with ieee_mode():
                ema_update(self.result, self.weights, share)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Replace the weights by the average inside the block, and restore them after it."""
        weights = self.weights.copy()
        self.weights[:] = self.result
        try:
            yield
        finally:
            self.weights[:] = weights
