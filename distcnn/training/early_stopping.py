"""Early stopping: training ends when so many epochs in a row have had no better validation result than one before."""

from __future__ import annotations

from distcnn.config.settings import Config
from distcnn.data.splits import Dataset
from distcnn.errors import ConfigError
from distcnn.run.training_progress import TrainingProgress
from distcnn.system.counts import counted


def require_validation(config: Config, dataset: Dataset) -> None:
    """Raise ConfigError if --patience is given and there is no validation split."""
    if config.patience is not None and dataset.validation is None:
        remedy = "add --validation-split 0.1, or name them (--validation-images)"
        other = "" if config.patience < 60 else " (--hang-timeout is for ranks that hang)"
        raise ConfigError(f"--patience {config.patience} needs validation images: {remedy}{other}")


def is_over(patience: int | None, progress: TrainingProgress) -> bool:
    """Return whether the last `patience` epochs have had no better result; None: there is no early stopping."""
    best = progress.best
    return patience is not None and best is not None and progress.epoch - best.epoch >= patience


def told(progress: TrainingProgress) -> str:
    """Return a line that says that training has stopped early, and where the best state is."""
    best, done = progress.best, counted(progress.epoch, "epoch")
    assert best is not None
    where = f"epoch {best.epoch} had the best validation result, checkpoints/best.h5"
    return f"stopped early after {done}: {where}"
