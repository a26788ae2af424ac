"""What rank 0 writes and shows while a run goes on; the other ranks are ready to take its place."""

import time

from distcnn.errors import OutputError
from distcnn.parallel.watch import WRITING
from distcnn.run import checkpoint
from distcnn.run.checkpoint_writer import CheckpointWriter
from distcnn.run.curves import Curves
from distcnn.run.metrics import Metrics
from distcnn.run.progress import Quiet, progress
from distcnn.system import job_status

REDRAW = 60  # seconds between two pictures of a run that goes on


class Recorder:
    """What a run writes and shows: rank 0 does so, and every other rank stands by to take its place."""

    def __init__(self, run, trainer):
        self.run, self.metrics, self.record = run, Metrics(run.metrics), None
        title = f"{run.config.model} on {trainer.dataset.name}"
        self.curves = Curves(run.metrics, run.curves, title, self.warn)
        self.progress = self.writer = self.score = None
        self.saved, self.lost = trainer.steps, None
        self.seconds, self.samples = 0.0, 0  # in this epoch so far, and trained by this process
        self.drawn, self.news = time.perf_counter(), True  # news: what the picture does not show yet
        self.resume(trainer)

    @property
    def is_writer(self):
        """Whether this rank is the one that writes and shows."""
        return self.progress is not None

    def resume(self, trainer, record=None):
        """Begin, or go on with other ranks or from an earlier step; `record` is the last that there shall be."""
        self.record = record
        self.seen = trainer.epoch_sums[2]
        if trainer.comm.rank == 0 and not self.is_writer:
            self._take_over(trainer)
        self.mark = time.perf_counter()

    def start(self):
        """Begin to measure time."""
        if self.is_writer:
            job_status.write(job_status.TRAINING)
        self.mark = time.perf_counter()

    def say(self, text):
        """Show a line."""
        if self.is_writer:
            self.progress.say(text)

    def warn(self, text):
        """Show a warning."""
        if self.is_writer:
            self.progress.warn(text)

    def step(self, trainer):
        """Take note of a finished step."""
        now = time.perf_counter()
        done = trainer.epoch_sums[2] - self.seen
        self.seconds, self.samples, self.mark = self.seconds + now - self.mark, self.samples + done, now
        self.seen = trainer.epoch_sums[2]
        if self.is_writer:
            self._tell()
            self.progress.step(trainer.epoch + 1, *trainer.means, done)

    def epoch(self, trainer, evaluations, waited):
        """Record an epoch, or the part of one that was done.

        evaluations: (loss, accuracy) by part; waited: seconds that each rank has waited for the others.
        """
        trainer.watch.note(WRITING)
        loss, accuracy = trainer.means
        validation = evaluations.get("validation")
        test_loss, test_accuracy = evaluations.get("test", (None, None))
        self.record = {
            "epoch": trainer.epoch + 1,
            "step": trainer.steps,
            "train_loss": loss,
            "train_accuracy": accuracy,
            "test_loss": test_loss,
            "test_accuracy": test_accuracy,
            "samples_per_second": self.samples / self.seconds if self.samples else None,
            "ranks": trainer.comm.size,
            "waited_seconds": waited,
            "waited_for": waited.index(min(waited)) if len(waited) > 1 else None,
            "weights_sha256": trainer.digest,
        }
        if validation:
            self.record |= {"validation_loss": validation[0], "validation_accuracy": validation[1]}
        self.seconds, self.samples, self.seen = 0.0, 0, 0
        if self.is_writer:
            self._write_record()
        self.mark = time.perf_counter()

    def save(self, trainer):
        """Have a checkpoint written, unless that was done; if it fails, say so and go on."""
        trainer.watch.note(WRITING)
        if self.is_writer and self.saved != trainer.steps:
            self.saved = trainer.steps
            self.writer = self.writer or CheckpointWriter(
                self.run.checkpoints, self.run.config.keep_checkpoints, self._best()
            )
            self.writer.save(trainer.state(), self.score)
            self.score = None
        self.mark = time.perf_counter()

    def finish(self):
        """Return when all is written and drawn; more may follow when a rank has died meanwhile."""
        if not self.is_writer:
            return
        if self.news:
            self._draw()
        if self.writer:
            self.lost = self.writer.close()
            self._tell()
            self.writer = None
        self.progress.close()
        self.progress = Quiet(self.run.config.epochs)
        self.curves.finish()

    def require_saved(self):
        """Raise OutputError if the last state could not be written."""
        if self.lost:
            raise OutputError(f"{self.run.folder}: {self.lost}: make room, and go on with --resume auto")

    def _take_over(self, trainer):
        """Become the rank that writes, and write what the last one has not."""
        config, samples = self.run.config, len(trainer.dataset.train.labels)
        done = trainer.epoch * samples + trainer.epoch_sums[2]
        self.progress = progress(config.progress, config.epochs, config.epochs * samples, done)
        self._carefully(lambda: self.metrics.truncate_after(trainer.steps))
        if self.record:
            self.saved = None
            self._write_record()
            if self.record["step"] != trainer.steps:
                self.score = None  # it is not that of the state that is saved next

    def _write_record(self):
        """Write the last record, unless it is there."""
        record, self.score = self.record, score(self.record)

        def append():
            if all(each["step"] < record["step"] for each in self.metrics.records()[-1:]):
                self.news = True
                self.progress.epoch(record)
                self.metrics.append(record)

        self._carefully(append)
        if time.perf_counter() - self.drawn > REDRAW:
            self._draw()

    def _draw(self):
        self.curves.draw()
        self.drawn, self.news = time.perf_counter(), False

    def _best(self):
        """Return (score, step) of the best epoch whose checkpoint is there, or None."""
        kept = [(score(each), each["step"]) for each in self.metrics.records() if score(each) is not None]
        return max(
            (best for best in kept if (self.run.checkpoints / checkpoint.name(best[1])).exists()),
            default=None,
        )

    def _tell(self):
        """Show what the thread that writes checkpoints has met with."""
        while self.writer and self.writer.warnings:
            self.warn(self.writer.warnings.popleft())

    def _carefully(self, write):
        """Do not let a full disk end a run."""
        try:
            write()
        except (OutputError, OSError) as error:
            self.warn(f"{error} (training goes on)")


def score(record):
    """Return what an epoch is judged by, the higher the better, or None without a validation part."""
    accuracy, loss = record.get("validation_accuracy"), record.get("validation_loss")
    return None if accuracy is None or loss is None else (accuracy, -loss)
