"""The recorder: on rank 0 it writes a run's files and shows its progress; on other ranks it can replace rank 0's."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from distcnn.config.tasks import task_of
from distcnn.errors import DataError, OutputError
from distcnn.parallel.comm import Comm
from distcnn.parallel.heartbeat import WRITING, Heartbeat
from distcnn.reports import files as report_files
from distcnn.reports.report import Report
from distcnn.run import checkpoint
from distcnn.run.checkpoint_writer import CONTINUES, CheckpointWriter
from distcnn.run.curves import Curves
from distcnn.run.metrics_log import Metrics, MetricsInMemory
from distcnn.run.progress_bar import Lines, Quiet, progress
from distcnn.run.run_folder import Run
from distcnn.run.run_lock import RunLock
from distcnn.run.state import State
from distcnn.run.training_progress import Score, TrainingProgress
from distcnn.system import job_status

REDRAW = 60  # seconds between two drawings of the curves

Record = dict[str, Any]


class Recorder:
    """Writes metrics, curves and checkpoints and shows progress on rank 0.

    On other ranks it only counts, so that it can continue the work of rank 0 if that rank dies.

    run: the run's folder and settings.
    comm: the communicator of all ranks.
    heartbeat: of this rank.
    lock: of this job on the run's folder.
    dataset: the name of the dataset.
    samples: the number of samples of an epoch.
    done: how far training is.

    record: the record of the last epoch, the same on all ranks.
    """

    def __init__(
        self,
        run: Run,
        comm: Comm,
        heartbeat: Heartbeat,
        lock: RunLock,
        dataset: str,
        samples: int,
        done: TrainingProgress,
    ):
        self.run, self.comm, self.heartbeat, self.lock = run, comm, heartbeat, lock
        self.record: Record | None = None
        self.metrics = Metrics(run.metrics) if run.written else MetricsInMemory()
        self._epoch_samples = samples
        self._has_accuracy = task_of(run.config.task).has_accuracy
        title, busy = f"{run.config.model} on {dataset}", partial(heartbeat.beat, WRITING)
        self.curves = Curves(run.metrics, run.curves, title, self.warn, busy)
        self.progress: Lines | None = None  # not None on the rank that writes
        self.writer: CheckpointWriter | None = None
        self.score: Score | None = None  # of the last record, until a checkpoint has it
        self._saved: int | None = done.steps  # the step of the last checkpoint, None if it is not known
        self._unsaved: str | None = None  # why the last state is not saved
        self._seconds, self._samples = 0.0, 0  # trained by this process in this epoch so far
        self._drawn = time.perf_counter()  # when the curves were last drawn
        self._undrawn = True  # whether the curves lack a record
        self.resume(done)

    @property
    def is_writer(self) -> bool:
        """Whether this rank writes the run's files and shows its progress."""
        return self.progress is not None

    @property
    def must_stop(self) -> bool:
        """Whether this rank must not write any more, because another job has got the run's folder."""
        return self.lock.lost is not None

    def resume(self, done: TrainingProgress, record: Record | None = None) -> None:
        """Begin, or resume after a recovery; rank 0 removes the records of later steps from the metrics.

        done: how far training is.
        record: of the last epoch before that.
        """
        self.record = record
        self._counted = done.totals.samples
        if self.comm.rank == 0 and not self.is_writer:
            self._take_over(done)
        self._since = time.perf_counter()

    def start(self) -> None:
        """Start to measure time, and report to the launcher that the job is training."""
        if self.is_writer:
            job_status.write(job_status.TRAINING)
        self._since = time.perf_counter()

    def say(self, text: str) -> None:
        """Show a line on rank 0."""
        if self.progress:
            self.progress.say(text)

    def warn(self, text: str) -> None:
        """Show a warning on rank 0."""
        if self.progress:
            self.progress.warn(text)

    def step(self, done: TrainingProgress) -> None:
        """Count a finished step and show how far training is."""
        now, samples = time.perf_counter(), done.totals.samples - self._counted
        self._seconds, self._since = self._seconds + now - self._since, now
        self._samples, self._counted = self._samples + samples, done.totals.samples
        if self.progress:
            self._show_warnings()
            accuracy = done.totals.accuracy if self._has_accuracy else None
            self.progress.step(done.epoch + 1, done.totals.mean_loss, accuracy, samples)

    def epoch(
        self,
        done: TrainingProgress,
        evaluations: dict[str, dict[str, float | None]],
        waited: list[float],
        digest: str,
    ) -> None:
        """Record an epoch, which may have ended early.

        done: how far training is.
        evaluations: the metrics by the name of the split.
        waited: the seconds that each rank has waited for other ranks.
        digest: of the weights.
        """
        self.heartbeat.beat(WRITING)
        self.record = record = {
            "epoch": done.epoch + 1,
            "step": done.steps,
            "train_loss": done.totals.mean_loss,
            "train_accuracy": done.totals.accuracy if self._has_accuracy else None,
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
        elif not self.run.written:
            self.metrics.append(record)  # as no file tells this rank, should it become rank 0
        self._since = time.perf_counter()

    def save(self, steps: int, state: Callable[[], State]) -> None:
        """Queue a checkpoint, unless the state is already saved; if it cannot be written, a warning is shown later.

        steps: the number of finished steps.
        state: state() returns the state after these steps; only rank 0 calls it.
        """
        self.heartbeat.beat(WRITING)
        if self.is_writer and self.run.written and self._saved != steps:
            self._saved = steps
            most = self.run.config.keep_checkpoints
            folder, may_write = self.run.checkpoints, self.lock.check
            self.writer = self.writer or CheckpointWriter(folder, most, self._best(), may_write)
            self.writer.save(state(), self.score)
            self.score = None
        self._since = time.perf_counter()

    def report(self, report: Report) -> None:
        """Write the report on the test split; its pictures are drawn with the curves."""
        self.heartbeat.beat(WRITING)
        if self.is_writer:
            self._unless_disk_fails(self._report, report)

    def finish(self) -> None:
        """Wait until all checkpoints are written and the curves are drawn, and remove the progress bar.

        The recorder can still be used afterwards, in case that a rank has died meanwhile.
        """
        if not self.progress:
            return
        if self._undrawn:
            self._draw()
        if self.writer:
            self._unsaved = self.writer.close()
            self._show_warnings()
            self.writer = None
        self._unless_disk_fails(self.metrics.flush)  # older checkpoints may have made room
        self.progress.close()
        self.progress = Quiet(self.run.config.epochs)
        self.curves.finish()

    def require_saved(self) -> None:
        """Raise OutputError if the last state could not be written."""
        if self.lock.lost:
            raise OutputError(f"{self.lock.lost}; continue with --resume auto when that has ended")
        if self._unsaved:
            raise OutputError(
                f"{self.run.folder}: {self._unsaved}: make room, then continue it (--resume auto)"
            )

    def _take_over(self, done: TrainingProgress) -> None:
        """Become the rank that writes, and write what the previous one may not have written."""
        if self.run.written:
            self.lock.keep(self.run.folder)
        config, samples = self.run.config, self._epoch_samples
        trained = done.epoch * samples + done.totals.samples
        self.progress = progress(config.progress, config.epochs, config.epochs * samples, trained)
        self._unless_disk_fails(self.metrics.truncate_after, done.steps)
        if self.record:
            self._saved = None
            self._write(self.record)
            if self.record["step"] != done.steps:
                self.score = None  # the next state to be saved is of a later step

    def _write(self, record: Record) -> None:
        """Write and show the record of an epoch, unless the metrics hold it already."""
        self.score = score(record)
        self._unless_disk_fails(self._append, record)
        if time.perf_counter() - self._drawn > REDRAW:
            self._draw()

    def _append(self, record: Record) -> None:
        """Show a record and append it to the metrics, unless their last record is of this step or a later one."""
        if all(each["step"] < record["step"] for each in self.metrics.records()[-1:]):
            self._undrawn = True
            if self.progress:
                self.progress.epoch(record)
            self.metrics.append(record)

    def _report(self, report: Report) -> None:
        """Write the report, and keep the images that its pictures show."""
        images = report.images
        report_files.write(self.run.report, report.record)
        self.curves.report = self.run.report, images
        self._undrawn = True

    def _draw(self) -> None:
        """Start to draw the curves."""
        if self.run.written and self.lock.check():
            self.curves.draw()
        self._drawn, self._undrawn = time.perf_counter(), False

    def _best(self) -> tuple[Score, int] | None:
        """Return (score, step) of the best epoch whose checkpoint exists, or None."""
        records = self.metrics.records()
        scores = [(found, each["step"]) for each in records if (found := score(each)) is not None]
        there = [best for best in scores if (self.run.checkpoints / checkpoint.name(best[1])).exists()]
        return max(there, default=None)

    def _show_warnings(self) -> None:
        """Show the warnings of the threads that write checkpoints and hold the lock."""
        for warnings in [self.lock.warnings, *([self.writer.warnings] if self.writer else [])]:
            while warnings:
                self.warn(warnings.popleft())

    def _unless_disk_fails(self, write: Callable[..., None], *arguments: Any) -> None:
        """Call write(*arguments) if this job holds the lock; after an error of the disk show a warning and continue."""
        if not self.lock.check():
            return
        try:
            write(*arguments)
        except (OutputError, DataError, OSError) as error:
            self.warn(f"{error} {CONTINUES}")


def score(record: Record | None) -> Score | None:
    """Return the score of an epoch, the greater the better, or None without a validation split.

    Where there is no accuracy, the loss alone decides.
    """
    record = record or {}
    accuracy, loss = record.get("validation_accuracy"), record.get("validation_loss")
    return None if loss is None else (accuracy or 0.0, -loss)


def _metrics(evaluations: dict[str, dict[str, float | None]], split: str) -> Record:
    """Return the metrics over a split by their names in a record; without the split, loss and accuracy are None."""
    found: Record = {"loss": None, "accuracy": None} | evaluations.get(split, {})
    return {f"{split}_{name}": value for name, value in found.items()}
