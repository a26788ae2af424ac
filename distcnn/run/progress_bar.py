"""The output of a run while it trains: a progress bar on a terminal, one line per epoch elsewhere.

Lines are written to stdout, warnings to stderr, and the bar directly to the terminal, because Open MPI's mpirun
forwards only whole lines. These streams may overtake each other, so on a terminal every line first clears the line
of the bar.
"""

import os
import sys
import threading
from contextlib import suppress
from typing import TextIO

from distcnn.run.terminal import columns, open_terminal
from distcnn.system.terminal_text import encodable, printable

CLEAR = "\r\x1b[K"
BAR = "{desc} {percentage:3.0f}%|{bar}| {rate_fmt}, {remaining} left"
STDOUT, STDERR = 1, 2  # file descriptors


class Lines:
    """Shows one line per epoch.

    epochs: the number of epochs of the whole run.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def step(self, epoch: int, loss: float, accuracy: float, samples: int) -> None:
        """Show a finished step.

        epoch: its number, from 1.
        loss: the mean over the epoch so far.
        accuracy: likewise.
        samples: how many samples the step has.
        """

    def epoch(self, record: dict) -> None:
        """Show the record of an epoch."""
        self.say(epoch_line(record, self.epochs))

    def say(self, text: str) -> None:
        """Print a line on stdout."""
        _print(sys.stdout, STDOUT, text)

    def warn(self, text: str) -> None:
        """Print a warning on stderr."""
        _print(sys.stderr, STDERR, f"distcnn: warning: {text}")

    def close(self) -> None:
        """Remove from the screen what shall not stay there."""


class Quiet(Lines):
    """Shows only the lines and warnings that it is given."""

    def epoch(self, record: dict) -> None:
        """Show nothing."""


class Screen:
    """A stream for the progress bar that ignores errors, so that closing the terminal does not end the run."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.encoding = getattr(stream, "encoding", "utf-8")

    def write(self, text: str) -> None:
        """Write text; ignore errors."""
        with suppress(OSError, ValueError):
            self.stream.write(text)

    def flush(self) -> None:
        """Flush the stream; ignore errors."""
        with suppress(OSError, ValueError):
            self.stream.flush()


class Bar(Lines):
    """Shows a progress bar over all epochs, below the lines.

    epochs: the number of epochs of the whole run.
    samples: the number of samples of the whole run, each counted once per epoch.
    done: how many of these are already trained.
    """

    def __init__(self, epochs: int, samples: int, done: int) -> None:
        from tqdm import tqdm

        super().__init__(epochs)
        tqdm.monitor_interval = 0  # tqdm shall start no thread while MPI is in use
        tqdm.set_lock(threading.RLock())  # tqdm's own would start a process, from Python 3.14 on
        form = {"unit": " samples", "unit_scale": True, "ncols": columns(STDERR) or 80, "bar_format": BAR}
        pace = {"miniters": 1, "mininterval": 0.2, "smoothing": 0.1}
        terminal = open_terminal(STDERR)
        self.screen = Screen(sys.stderr if terminal is None else os.fdopen(terminal, "w"))
        self.bar = tqdm(total=samples, initial=done, leave=False, file=self.screen, **form, **pace)

    def step(self, epoch: int, loss: float, accuracy: float, samples: int) -> None:
        """Move the bar by the samples of a finished step; see `Lines.step`."""
        self.bar.desc = f"epoch {epoch}/{self.epochs}  loss {loss:.4f}  accuracy {accuracy:.2%} "
        self.bar.update(samples)

    def say(self, text: str) -> None:
        """Print a line on stdout, and redraw the bar below it."""
        super().say(text)
        self._redraw()

    def warn(self, text: str) -> None:
        """Print a warning on stderr, and redraw the bar below it."""
        super().warn(text)
        self._redraw()

    def close(self) -> None:
        """Remove the bar."""
        self.bar.close()

    def _redraw(self) -> None:
        """Draw the bar again, in the present width of the terminal."""
        self.bar.ncols = columns(STDERR) or self.bar.ncols  # the window may have another size now
        self.bar.refresh()


def progress(mode: str, epochs: int, samples: int, done: int = 0) -> Lines:
    """Return the object that shows a run's progress.

    mode: "bar", "lines", "none" for only those lines and warnings that are given, or "auto" for a bar on a terminal and
        lines elsewhere.
    epochs: the number of epochs of the whole run.
    samples: the number of samples of the whole run, each counted once per epoch.
    done: how many of these are already trained.
    """
    if mode == "bar" or (mode == "auto" and columns(STDERR)):
        return Bar(epochs, samples, done)
    return Quiet(epochs) if mode == "none" else Lines(epochs)


def epoch_line(record: dict, epochs: int) -> str:
    """Return the record of an epoch as a line to read; epochs: of the whole run."""
    fields = [f"epoch {record['epoch']:{len(str(epochs))}}/{epochs}", f"loss {record['train_loss']:.4f}"]
    if "validation_accuracy" in record:
        fields += [f"validation accuracy {record['validation_accuracy']:.2%}"]
    if record["test_accuracy"] is not None:
        fields += [f"test loss {record['test_loss']:.4f}", f"test accuracy {record['test_accuracy']:.2%}"]
    if record["samples_per_second"] is not None:
        fields += [f"{record['samples_per_second']:,.0f} samples/s"]
    return "  ".join(fields)


def _print(stream: TextIO, descriptor: int, text: str) -> None:
    """Print a line and flush it; if the reader has closed the pipe, discard all further output."""
    try:
        text = encodable(printable(text), stream)
        print(f"{CLEAR if columns(descriptor) else ''}{text}", file=stream, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
