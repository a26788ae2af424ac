"""The progress of training, as the replica, checkpoints and the progress bar use it."""

from __future__ import annotations

from dataclasses import dataclass, field

from distcnn.numerics.fixed_point import Totals


@dataclass(frozen=True, order=True)
class TrainingProgress:
    """The progress of a replica; objects compare by how far training is.

    steps: the number of finished steps in total.
    epoch: the number of finished epochs; the current epoch has the number epoch + 1.
    totals: the totals of the current epoch so far.
    stop_requested: whether some rank was asked to stop.
    """

    steps: int = 0
    epoch: int = 0
    totals: Totals = field(default_factory=Totals)
    stop_requested: bool = False
