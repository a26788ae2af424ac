"""The progress of training, as the replica, checkpoints and the progress bar use it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

from distcnn.numerics.fixed_point import Totals

Score = tuple[float, float]  # of an epoch on the validation split; the greater, the better


class Best(NamedTuple):
    """The epoch with the best validation result so far.

    epoch: its number, from 1.
    score: its result.
    """

    epoch: int
    score: Score


@dataclass(frozen=True, order=True)
class TrainingProgress:
    """The progress of a replica; objects compare by how far training is.

    steps: the number of finished steps in total.
    epoch: the number of finished epochs; the current epoch has the number epoch + 1.
    totals: the totals of the current epoch so far.
    stop_requested: whether some rank was asked to stop.
    best: the best epoch so far; None if no epoch is finished, or without a validation split. It is the same wherever
        the rest is.
    """

    steps: int = 0
    epoch: int = 0
    totals: Totals = field(default_factory=Totals)
    stop_requested: bool = False
    best: Best | None = field(default=None, compare=False)

    def next_epoch(self, score: Score | None = None) -> TrainingProgress:
        """Return the progress at the start of the next epoch; score: of the epoch that is done."""
        epoch, best = self.epoch + 1, self.best
        if score is not None and (best is None or score > best.score):
            best = Best(epoch, score)
        return replace(self, epoch=epoch, totals=Totals(), best=best)
