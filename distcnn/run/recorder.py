"""What rank 0 writes and shows while a run goes on; the other ranks are ready to take its place."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from distcnn.errors import OutputError
from distcnn.parallel.comm import Comm
from distcnn.parallel.heartbeat import WRITING, Heartbeat
from distcnn.run import checkpoint
from distcnn.run.checkpoint_writer import CheckpointWriter
from distcnn.run.curves import Curves
from distcnn.run.metrics import Metrics
from distcnn.run.progress import Lines, Quiet, progress
from distcnn.run.run_folder import Run
from distcnn.run.state import State
from distcnn.run.training_progress import TrainingProgress
from distcnn.system import job_status

REDRAW = 60  # seconds between two pictures of a run that goes on

Record = dict[str, Any]


class Recorder:
    """Writes and shows a run on rank 0; on every other rank it is ready to take rank 0's place.

    run: the run's folder and settings.
    comm: of all ranks.
    heartbeat: of this rank.
    dataset: the name of the dataset.
    samples: how many samples an epoch has.
    done: how far training is.

    record: of the last epoch, the same on all ranks.
    """

    def __init__(
        self,
        run: Run,
        comm: Comm,
        heartbeat: Heartbeat,
        dataset: str,
        samples: int,
        done: TrainingProgress,
    ):
        self.run, self.comm, self.heartbeat = run, comm, heartbeat
        self.record: Record | None = None
        self.metrics, self._epoch_samples = Metrics(run.metrics), samples
        self.curves = Curves(run.metrics, run.curves, f"{run.config.model} on {dataset}", self.warn)
        self.progress: Lines | None = None  # on the rank that writes
        self.writer: CheckpointWriter | None = None
        self.score: tuple[float, float] | None = None
        self._saved = done.steps  # the step of the last checkpoint
        self._unsaved: str | None = None  # why it could not be written
        self._seconds, self._samples = 0.0, 0  # in this epoch so far, and trained by this process
        self._drawn, self._undrawn = time.perf_counter(), True  # when, and whether the picture lacks a record
        self.resume(done)

    @property
    def is_writer(self) -> bool:
        """Whether this rank is the one that writes and shows."""
        return self.progress is not None

    def resume(self, done: TrainingProgress, record: Record | None = None) -> None:
        """Begin, or go on with other ranks or from an earlier step.

        done: how far training is.
        record: of the last epoch before that; later ones are removed from the metrics.
        """
        self.record = record
        self._counted = done.totals.samples
        if self.comm.rank == 0 and not self.is_writer:
            self._take_over(done)
        self._since = time.perf_counter()

    def start(self) -> None:
        """Begin to measure time."""
        if self.is_writer:
            job_status.write(job_status.TRAINING)
        self._since = time.perf_counter()

    def say(self, text: str) -> None:
        """Show a line."""
        if self.progress:
            self.progress.say(text)

    def warn(self, text: str) -> None:
        """Show a warning."""
        if self.progress:
            self.progress.warn(text)

    def step(self, done: TrainingProgress) -> None:
        """Count a finished step and show how far training is."""
        now, samples = time.perf_counter(), done.totals.samples - self._counted
        self._seconds, self._since = self._seconds + now - self._since, now
        self._samples, self._counted = self._samples + samples, done.totals.samples
        if self.progress:
            self._show_warnings()
            self.progress.step(done.epoch + 1, done.totals.mean_loss, done.totals.accuracy, samples)

    def epoch(
        self,
        done: TrainingProgress,
        evaluations: dict[str, dict[str, float]],
        waited: list[float],
        digest: str,
    ) -> None:
        """Record an epoch, or the part of one that was done.

        done: how far training is.
        evaluations: metrics by split.
        waited: seconds that each rank has waited for the others.
        digest: of the weights.
        """
        self.heartbeat.beat(WRITING)
        self.record = record = {
            "epoch": done.epoch + 1,
            "step": done.steps,
            "train_loss": done.totals.mean_loss,
            "train_accuracy": done.totals.accuracy,
            **_metrics(evaluations, "test"),
            "samples_per_second": self._samples / self._seconds if self._samples else None,
            "ranks": self.comm.size,
            "waited_seconds": waited,
            "waited_for": waited.index(min(waited)) if len(waited) > 1 else None,
            "weights_sha256": digest,
        }
        if "validation" in evaluations:
            record |= _metrics(evaluations, "validation")
        self._seconds, self._samples, self._counted = 0.0, 0, 0
        if self.is_writer:
            self._write(record)
        self._since = time.perf_counter()

    def save(self, steps: int, state: Callable[[], State]) -> None:
        """Have the state after so many steps written, unless that was done; if it fails, warn and go on."""
        self.heartbeat.beat(WRITING)
        if self.is_writer and self._saved != steps:
            self._saved = steps
            most = self.run.config.keep_checkpoints
            self.writer = self.writer or CheckpointWriter(self.run.checkpoints, most, self._best())
            self.writer.save(state(), self.score)
            self.score = None
        self._since = time.perf_counter()

    def finish(self) -> None:
        """Wait until all is written and drawn; steps may still follow, when ranks go on after a rank failure."""
        if not self.progress:
            return
        if self._undrawn:
            self._draw()
        if self.writer:
            self._unsaved = self.writer.close()
            self._show_warnings()
            self.writer = None
        self.progress.close()
        self.progress = Quiet(self.run.config.epochs)
        self.curves.finish()

    def require_saved(self) -> None:
        """Raise OutputError if the last state could not be written."""
        if self._unsaved:
            raise OutputError(f"{self.run.folder}: {self._unsaved}: make room, and go on with --resume auto")

    def _take_over(self, done):
        """Become the rank that writes, and write what the last one has not."""
        config, samples = self.run.config, self._epoch_samples
        shown = done.epoch * samples + done.totals.samples
        self.progress = progress(config.progress, config.epochs, config.epochs * samples, shown)
        self._unless_disk_fails(self.metrics.truncate_after, done.steps)
        if self.record:
            self._saved = None
            self._write(self.record)
            if self.record["step"] != done.steps:
                self.score = None  # it is not that of the state that is saved next

    def _write(self, record):
        """Write and show the record of an epoch, unless that was done."""
        self.score = score(record)
        self._unless_disk_fails(self._append, record)
        if time.perf_counter() - self._drawn > REDRAW:
            self._draw()

    def _append(self, record):
        if all(each["step"] < record["step"] for each in self.metrics.records()[-1:]):
            self._undrawn = True
            self.progress.epoch(record)
            self.metrics.append(record)

    def _draw(self):
        self.curves.draw()
        self._drawn, self._undrawn = time.perf_counter(), False

    def _best(self):
        """Return (score, step) of the best epoch whose checkpoint is there, or None."""
        scores = [(score(each), each["step"]) for each in self.metrics.records() if score(each) is not None]
        there = [best for best in scores if (self.run.checkpoints / checkpoint.name(best[1])).exists()]
        return max(there, default=None)

    def _show_warnings(self):
        """Show the warnings of the thread that writes checkpoints."""
        while self.writer and self.writer.warnings:
            self.warn(self.writer.warnings.popleft())

    def _unless_disk_fails(self, write, *arguments):
        """Call write(*arguments); a full disk is a warning and does not end the run."""
        try:
            write(*arguments)
        except (OutputError, OSError) as error:
            self.warn(f"{error} (training goes on)")


def score(record: Record) -> tuple[float, float] | None:
    """Return the score of an epoch, the higher the better, or None without a validation split."""
    accuracy, loss = record.get("validation_accuracy"), record.get("validation_loss")
    return None if accuracy is None or loss is None else (accuracy, -loss)


def _metrics(evaluations, split):
    """Return the metrics over a split by their names in a record; loss and accuracy are None without it."""
    found = {"loss": None, "accuracy": None} | evaluations.get(split, {})
    return {f"{split}_{name}": value for name, value in found.items()}
