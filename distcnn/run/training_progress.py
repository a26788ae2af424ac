"""How far training is: what a replica, a checkpoint and the screen need to know of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from distcnn.numerics.fixed_point import Totals


@dataclass(frozen=True, order=True)
class TrainingProgress:
    """How far a replica is; of two, the greater is ahead.

    steps: finished steps in total.
    epoch: finished epochs, so that an epoch that has begun has the number epoch + 1.
    totals: of this epoch so far.
    stop_requested: whether some rank was asked to stop.
    """

    steps: int = 0
    epoch: int = 0
    totals: Totals = field(default_factory=Totals)
    stop_requested: bool = False
