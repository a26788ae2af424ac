"""What rank 0 writes and shows while a run goes on; the other ranks record nothing."""

import time

from distcnn import checkpoint, outcome
from distcnn.errors import OutputError
from distcnn.report.archive import Archive
from distcnn.report.curves import draw
from distcnn.report.metrics import Metrics
from distcnn.report.progress import progress

REDRAW = 60  # seconds between two pictures of a run that goes on


class Nothing:
    """The recorder of all ranks but the first."""

    def say(self, text):
        """Show a line."""

    def start(self):
        """Begin to measure time."""

    def step(self, training):
        """Take note of a finished step."""

    def epoch(self, training, evaluations):
        """Record an epoch, or the part of one that was done; evaluations: (loss, accuracy) by part."""

    def save(self, training):
        """Write a checkpoint; if that fails, say so and go on."""

    def close(self):
        """End the progress bar and draw the curves."""


class Recorder(Nothing):
    """The recorder of rank 0, for a run in its folder."""

    def __init__(self, run, training):
        self.run, self.metrics, self.ranks = run, Metrics(run.metrics), training.comm.size
        samples = len(training.dataset.train.labels)
        done = training.epoch * samples + training.epoch_sums[2]
        self.progress = progress(run.config.progress, run.config.epochs, run.config.epochs * samples, done)
        self.say, self.warn = self.progress.say, self.progress.warn
        self.title = f"{run.config.model} on {training.dataset.name}"
        self.metrics.truncate_after(training.steps)
        self.score, self.archive = None, Archive(run.checkpoints, run.config.keep, self._best())
        self.drawn = self.mark = time.perf_counter()
        self.seconds, self.samples, self.seen = 0.0, 0, training.epoch_sums[2]

    def start(self):
        outcome.tell(outcome.TRAINING)
        self.mark = time.perf_counter()

    def step(self, training):
        now = time.perf_counter()
        done = training.epoch_sums[2] - self.seen
        self.seconds, self.samples, self.mark = self.seconds + now - self.mark, self.samples + done, now
        self.seen = training.epoch_sums[2]
        self._tell()
        self.progress.step(training.epoch + 1, *training.means, done)

    def epoch(self, training, evaluations):
        loss, accuracy = training.means
        validation = evaluations.get("validation")
        test_loss, test_accuracy = evaluations.get("test", (None, None))
        record = {
            "epoch": training.epoch + 1,
            "step": training.steps,
            "train_loss": loss,
            "train_accuracy": accuracy,
            "test_loss": test_loss,
            "test_accuracy": test_accuracy,
            "samples_per_second": self.samples / max(self.seconds, 1e-9),
            "ranks": self.ranks,
            "weights_sha256": training.net.digest,
        }
        if validation:
            record |= {"validation_loss": validation[0], "validation_accuracy": validation[1]}
        self.score = score(record)
        self._carefully(lambda: self.metrics.append(record))
        self.progress.epoch(record)
        self.seconds, self.samples, self.seen = 0.0, 0, 0
        if time.perf_counter() - self.drawn > REDRAW:
            self._draw()
        self.mark = time.perf_counter()

    def save(self, training):
        self.archive.save(training.state(), self.score)
        self.score = None
        self.mark = time.perf_counter()

    def close(self):
        self.archive.close()
        self._tell()
        self.progress.close()
        self._draw()

    def _draw(self):
        draw(self.metrics.records(), self.run.curves, self.title, self.warn)
        self.drawn = time.perf_counter()

    def _best(self):
        """Return (score, step) of the best epoch whose checkpoint is there, or None."""
        kept = [(score(each), each["step"]) for each in self.metrics.records() if score(each) is not None]
        return max(
            (best for best in kept if (self.run.checkpoints / checkpoint.name(best[1])).exists()),
            default=None,
        )

    def _tell(self):
        """Show what the thread that writes checkpoints has met with."""
        while self.archive.warnings:
            self.warn(self.archive.warnings.popleft())

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
