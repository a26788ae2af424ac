"""What a run shows while it trains: a bar where a person watches, one line per epoch elsewhere.

Lines go to stdout, warnings to stderr, the bar right to the terminal: Open MPI's mpirun passes on whole lines
only. They may overtake each other, so on a terminal every line first clears the one that it is written over.
"""

import os
import sys
import threading
from contextlib import suppress
from typing import TextIO

from distcnn.run.terminal import columns, open_terminal

CLEAR = "\r\x1b[K"
BAR = "{desc} {percentage:3.0f}%|{bar}| {rate_fmt}, {remaining} left"
STDOUT, STDERR = 1, 2  # descriptors


class Lines:
    """One line per epoch.

    epochs: of the whole run
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def step(self, epoch: int, loss: float, accuracy: float, samples: int) -> None:
        """Show a finished step of so many samples; loss and accuracy are means over its epoch so far."""

    def epoch(self, record: dict) -> None:
        """Show an epoch's record of metrics."""
        self.say(epoch_line(record, self.epochs))

    def say(self, text: str) -> None:
        """Print a line on stdout."""
        _print(sys.stdout, STDOUT, text)

    def warn(self, text: str) -> None:
        """Print a warning on stderr."""
        _print(sys.stderr, STDERR, f"distcnn: warning: {text}")

    def close(self) -> None:
        """Remove from the screen what is not to stay there."""


class Quiet(Lines):
    """Only what `say` and `warn` are given."""

    def epoch(self, record: dict) -> None:
        """Show nothing."""


class Screen:
    """A stream to show a bar on, without errors: a terminal that was closed does not end the run."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.encoding = getattr(stream, "encoding", "utf-8")

    def write(self, text: str) -> None:
        """Write text if that is possible."""
        with suppress(OSError, ValueError):
            self.stream.write(text)

    def flush(self) -> None:
        """Flush if that is possible."""
        with suppress(OSError, ValueError):
            self.stream.flush()


class Bar(Lines):
    """A bar over all epochs, below the lines.

    epochs, samples: of the whole run
    done: samples of earlier calls
    """

    def __init__(self, epochs: int, samples: int, done: int) -> None:
        from tqdm import tqdm

        super().__init__(epochs)
        tqdm.monitor_interval = 0  # no thread of tqdm's while MPI is in use
        tqdm.set_lock(threading.RLock())  # tqdm's own would start a process, from Python 3.14 on
        form = {"unit": " samples", "unit_scale": True, "ncols": columns(STDERR) or 80, "bar_format": BAR}
        pace = {"miniters": 1, "mininterval": 0.2, "smoothing": 0.1}
        terminal = open_terminal(STDERR)
        self.screen = Screen(sys.stderr if terminal is None else os.fdopen(terminal, "w"))
        self.bar = tqdm(total=samples, initial=done, leave=False, file=self.screen, **form, **pace)

    def step(self, epoch: int, loss: float, accuracy: float, samples: int) -> None:
        """Move the bar by so many samples."""
        self.bar.desc = f"epoch {epoch}/{self.epochs}  loss {loss:.4f}  accuracy {accuracy:.2%} "
        self.bar.update(samples)

    def say(self, text: str) -> None:
        """Print a line on stdout, and the bar below it."""
        super().say(text)
        self._redraw()

    def warn(self, text: str) -> None:
        """Print a warning on stderr, and the bar below it."""
        super().warn(text)
        self._redraw()

    def close(self) -> None:
        """Remove the bar."""
        self.bar.close()

    def _redraw(self) -> None:
        self.bar.ncols = columns(STDERR) or self.bar.ncols  # the window may have another size now
        self.bar.refresh()


def progress(mode: str, epochs: int, samples: int, done: int = 0) -> Lines:
    """Return what shows a run's progress.

    mode: "auto", "bar", "lines", or "none" for nothing but what `say` and `warn` are given
    epochs, samples: of the whole run
    done: samples of earlier calls
    """
    if mode == "bar" or (mode == "auto" and columns(STDERR)):
        return Bar(epochs, samples, done)
    return Quiet(epochs) if mode == "none" else Lines(epochs)


def epoch_line(record: dict, epochs: int) -> str:
    """Return an epoch's record of metrics as a line to read."""
    fields = [f"epoch {record['epoch']:{len(str(epochs))}}/{epochs}", f"loss {record['train_loss']:.4f}"]
    if "validation_accuracy" in record:
        fields += [f"validation accuracy {record['validation_accuracy']:.2%}"]
    if record["test_accuracy"] is not None:
        fields += [f"test loss {record['test_loss']:.4f}", f"test accuracy {record['test_accuracy']:.2%}"]
    if record["samples_per_second"] is not None:
        fields += [f"{record['samples_per_second']:,.0f} samples/s"]
    return "  ".join(fields)


def _print(stream: TextIO, descriptor: int, text: str) -> None:
    """Print a line at once; a reader who has closed the pipe does not end the run."""
    try:
        print(f"{CLEAR if columns(descriptor) else ''}{text}", file=stream, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
