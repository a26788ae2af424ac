"""What a run shows while it trains: a bar where a person watches, one line per epoch elsewhere.

Lines go to stdout, warnings to stderr, the bar right to the terminal: Open MPI's mpirun passes on whole lines
only. They may overtake each other, so on a terminal every line first clears the one that it is written over.
"""

import os
import sys
import threading
from contextlib import suppress

from distcnn.run.terminal import columns, opened

CLEAR = "\r\x1b[K"
BAR = "{desc} {percentage:3.0f}%|{bar}| {rate_fmt}, {remaining} left"


def progress(mode, epochs, samples, done=0):
    """Return what shows a run of so many samples over all its epochs, `done` of them in earlier calls.

    mode: "auto", "bar", "lines", or "none" for nothing but what `say` and `warn` are given.
    """
    if mode == "bar" or (mode == "auto" and columns(2)):
        return Bar(epochs, samples, done)
    return Quiet(epochs) if mode == "none" else Lines(epochs)


class Lines:
    """One line per epoch."""

    def __init__(self, epochs):
        self.epochs = epochs

    def step(self, epoch, loss, accuracy, samples):
        """Take note of a step of so many samples; loss and accuracy are means over its epoch so far."""

    def epoch(self, record):
        """Show an epoch's record of metrics."""
        self.say(epoch_line(record, self.epochs))

    def say(self, text):
        """Print a line on stdout."""
        _print(sys.stdout, 1, text)

    def warn(self, text):
        """Print a warning on stderr."""
        _print(sys.stderr, 2, f"distcnn: warning: {text}")

    def close(self):
        """Leave the screen as it shall remain."""


class Quiet(Lines):
    """Nothing but what must be said."""

    def epoch(self, record):
        pass


class Screen:
    """A stream to show a bar on; a person who has gone away does not end the run."""

    def __init__(self, stream):
        self.stream = stream
        self.encoding = getattr(stream, "encoding", "utf-8")

    def write(self, text):
        with suppress(OSError, ValueError):
            self.stream.write(text)

    def flush(self):
        with suppress(OSError, ValueError):
            self.stream.flush()


class Bar(Lines):
    """A bar over all epochs, below the lines."""

    def __init__(self, epochs, samples, done):
        from tqdm import tqdm

        super().__init__(epochs)
        tqdm.monitor_interval = 0  # no thread beside MPI
        tqdm.set_lock(threading.RLock())  # tqdm's own would start a process, from Python 3.14 on
        form = {"unit": " samples", "unit_scale": True, "ncols": columns(2) or 80, "bar_format": BAR}
        pace = {"miniters": 1, "mininterval": 0.2, "smoothing": 0.1}
        terminal = opened(2)
        self.screen = Screen(sys.stderr if terminal is None else os.fdopen(terminal, "w"))
        self.bar = tqdm(total=samples, initial=done, leave=False, file=self.screen, **form, **pace)

    def step(self, epoch, loss, accuracy, samples):
        self.bar.desc = f"epoch {epoch}/{self.epochs}  loss {loss:.4f}  accuracy {accuracy:.2%} "
        self.bar.update(samples)

    def say(self, text):
        super().say(text)
        self._redraw()

    def warn(self, text):
        super().warn(text)
        self._redraw()

    def close(self):
        self.bar.close()

    def _redraw(self):
        self.bar.ncols = columns(2) or self.bar.ncols  # the window may have another size now
        self.bar.refresh()


def epoch_line(record, epochs):
    """Return an epoch's record of metrics as a line to read."""
    parts = [f"epoch {record['epoch']:{len(str(epochs))}}/{epochs}", f"loss {record['train_loss']:.4f}"]
    if "validation_accuracy" in record:
        parts += [f"validation accuracy {record['validation_accuracy']:.2%}"]
    if record["test_accuracy"] is not None:
        parts += [f"test loss {record['test_loss']:.4f}", f"test accuracy {record['test_accuracy']:.2%}"]
    speed = record["samples_per_second"]
    return "  ".join([*parts, *([f"{speed:,.0f} samples/s"] if speed is not None else [])])


def _print(stream, descriptor, text):
    """Print a line at once; a reader who has gone away does not end the run."""
    try:
        print(f"{CLEAR if columns(descriptor) else ''}{text}", file=stream, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
