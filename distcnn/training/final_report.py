"""The report on the test split that the end of a training writes."""

from __future__ import annotations

from distcnn.errors import DataError
from distcnn.run import checkpoint
from distcnn.run.recorder import Recorder
from distcnn.training.trainer import Trainer


def write_report(trainer: Trainer, recorder: Recorder) -> None:
    """Evaluate the test split once more, and write a report on it, if there is one. Collective.

    A split that cannot be read any more is a warning, as the training itself has ended well.
    """
    path = recorder.run.checkpoints / checkpoint.name(trainer.steps)
    try:
        report = trainer.report(str(path))
    except DataError as error:
        return recorder.warn(f"no report: {error}")
    if report:
        recorder.report(report)
