"""The standardization of targets: a net learns them minus their mean over their standard deviation."""

from __future__ import annotations

import numpy as np

from distcnn.config.tasks import Task

Moments = tuple[
    np.ndarray, np.ndarray
]  # mean and standard deviation of each target, or channel, float32 [n] each


class Targets:
    """Mean and standard deviation of what a net predicts.

    array: float32 [2, outputs], the means, then the standard deviations; 0 and 1 until they are set.
    are_set: whether they are.
    """

    are_set = False

    def __init__(self, task: Task, outputs: int) -> None:
        self._is_used = task.standardizes
        self.array = np.repeat(np.array([[0], [1]], np.float32), outputs, axis=1)

    def set(self, mean: np.ndarray, std: np.ndarray) -> None:
        """Set both, [outputs] each; [0] stands for 0 and 1, as of a task that does not standardize."""
        if len(mean):
            self.array[0], self.array[1] = mean, std
            self.are_set = True

    @property
    def pair(self) -> Moments | None:
        """Copies of the means and of the standard deviations, float32 [outputs] each; None if they are not set."""
        return (self.array[0].copy(), self.array[1].copy()) if self.are_set else None

    def predictions(self, outputs: np.ndarray) -> np.ndarray:
        """Return outputs of a net in the unit of the targets, float32 [n, outputs]; those of other tasks as they are.

        They are computed in float64 and rounded once, which gives the same bits everywhere.
        """
        if not self._is_used:
            return outputs
        mean, std = self.array.astype(np.float64)
        return (outputs * std + mean).astype(np.float32)
