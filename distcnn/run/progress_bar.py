"""The output of a run while it trains: a progress bar on a terminal, one line per epoch elsewhere.

The cursor stays where the next line begins, and the bar is drawn in the line below, from where it can always be erased:
whatever else writes to the terminal, its line stays whole, and so do the lines of the run, whatever the window's width.
Only where another program writes several lines at once, the second one may have the end of the bar behind it.
"""

import os
import sys
from contextlib import suppress
from importlib.util import find_spec
from typing import Any, TextIO

from distcnn.system.terminal import columns, is_read_elsewhere, open_terminal, write
from distcnn.system.terminal_text import ERASE_BELOW, descriptor, say

BAR = "{desc} {percentage:3.0f}%|{bar}| {rate_fmt}, {remaining} left"
STDOUT, STDERR = 1, 2  # file descriptors
USUAL = os.terminal_size((80, 24))  # where the size of a terminal is not known

# What draws the bar: erase the old one, go to the line below (the window scrolls if there is none), draw without
# wrapping, go back as far as the bar is long, and up. As all moves are relative, no line is lost if the window is
# resized meanwhile.
DRAW = ERASE_BELOW + "\x1bD\x1b[?7l{bar}\x1b[?7h\x1b[{length}D\x1b[A"


class Lines:
    """Shows one line per epoch.

    epochs: the number of epochs of the whole run.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def step(self, epoch: int, loss: float, accuracy: float | None, samples: int) -> None:
        """Show a finished step.

        epoch: its number, from 1.
        loss: the mean over the epoch so far.
        accuracy: likewise; None if the task has none.
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
    """A terminal as a stream on which tqdm draws its bar.

    The terminal may be closed, or stopped by Ctrl-S: neither ends nor delays the run.

    terminal: the terminal's file descriptor
    """

    def __init__(self, terminal: int) -> None:
        self.terminal, self.encoding = terminal, sys.stderr.encoding
        self._rest = b""  # of the last drawing, if the terminal has not taken all of it

    @property
    def size(self) -> os.terminal_size:
        """The columns and lines of the window, which may change at any time."""
        with suppress(OSError):  # the terminal was closed
            size = os.get_terminal_size(self.terminal)
            return size if all(size) else USUAL
        return USUAL

    def write(self, text: str) -> None:
        r"""Draw what tqdm writes: \r, the bar, and spaces; only spaces when the bar shall be removed."""
        bar = text.strip("\r ")
        room = self.size.lines > 1  # the bar is below the cursor
        drawing = DRAW.format(bar=bar, length=len(bar)) if bar and room else ERASE_BELOW
        self._rest = write(self.terminal, self._rest or drawing.encode(self.encoding, "replace"))

    def flush(self) -> None:
        """Do nothing, as nothing is kept."""

    def close(self) -> None:
        """Close this descriptor of the terminal."""
        os.close(self.terminal)


class Stream:
    """Another stream on which tqdm draws its bar; errors are ignored, so that closing it does not end the run.

    stream: such as a file
    """

    size = USUAL

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

    def close(self) -> None:
        """Leave the stream open, as others use it."""


class Bar(Lines):
    """Shows a progress bar over all epochs, below the lines.

    epochs: the number of epochs of the whole run.
    samples: the number of samples of the whole run, each counted once per epoch.
    done: how many of these are already trained.
    """

    def __init__(self, epochs: int, samples: int, done: int) -> None:
        from distcnn.run.tqdm_text import TextBar

        super().__init__(epochs)
        terminal = open_terminal(STDERR) if descriptor(sys.stderr) == STDERR else None
        self.screen = Stream(sys.stderr) if terminal is None else Screen(terminal)
        width = self.screen.size.columns
        form = {"unit": " samples", "unit_scale": True, "ncols": width, "bar_format": BAR}
        pace = {"miniters": 1, "mininterval": 0.2, "smoothing": 0.1}
        self.bar = TextBar(total=samples, initial=done, leave=False, file=self.screen, **form, **pace)

    def step(self, epoch: int, loss: float, accuracy: float | None, samples: int) -> None:
        """Move the bar by the samples of a finished step; see `Lines.step`."""
        self.bar.ncols = self.screen.size.columns
        self.bar.desc = step_text(epoch, self.epochs, loss, accuracy) + " "
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
        if not self.bar.disable:
            self.bar.close()
            self.screen.close()

    def _redraw(self) -> None:
        """Draw the bar again, below the line that was just written."""
        self.bar.refresh()


class NotebookBar(Lines):
    """Shows a progress bar over all epochs in the output of a notebook's cell; the lines stand beside it.

    widget: the class of the bar.
    epochs, samples, done: as in `Bar`.
    """

    def __init__(self, widget: Any, epochs: int, samples: int, done: int) -> None:
        super().__init__(epochs)
        self.bar = widget(total=samples, initial=done, leave=False, unit=" samples", unit_scale=True)

    def step(self, epoch: int, loss: float, accuracy: float | None, samples: int) -> None:
        """Move the bar by the samples of a finished step; see `Lines.step`."""
        self.bar.set_description_str(step_text(epoch, self.epochs, loss, accuracy), refresh=False)
        self.bar.update(samples)

    def close(self) -> None:
        """Remove the bar."""
        self.bar.close()


def progress(mode: str, epochs: int, samples: int, done: int = 0) -> Lines:
    """Return the object that shows a run's progress.

    mode: "bar", "lines", "none" for only those lines and warnings that are given, or "auto" for a bar on a terminal and
        in a notebook, and lines elsewhere: also where stdout goes to a pipe, as `tee` may write the lines to the same
        terminal.
    epochs: the number of epochs of the whole run.
    samples: the number of samples of the whole run, each counted once per epoch.
    done: how many of these are already trained.
    """
    if mode in ("none", "lines"):
        return Quiet(epochs) if mode == "none" else Lines(epochs)
    widget = widget_class() if in_notebook() else None
    if widget:
        return NotebookBar(widget, epochs, samples, done)
    if mode == "bar" or in_notebook() or _has_terminal():
        return Bar(epochs, samples, done)
    return Lines(epochs)


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module else None
    return "IPKernelApp" in getattr(shell, "config", {})


def widget_class() -> Any:
    """Return the class of a bar of a notebook, or None where its packages are missing."""
    if find_spec("ipywidgets") is None:
        return None
    from distcnn.run.tqdm_widget import WidgetBar

    return WidgetBar


def _has_terminal() -> bool:
    """Return whether a terminal shows stderr, and nothing else reads stdout."""
    on_terminal = descriptor(sys.stderr) == STDERR and columns(STDERR) is not None
    return on_terminal and not is_read_elsewhere(STDOUT)


def step_text(epoch: int, epochs: int, loss: float, accuracy: float | None) -> str:
    """Return what a bar says of the step that was finished last; the arguments are as in `Lines.step`."""
    right = "" if accuracy is None else f"  accuracy {accuracy:.2%}"
    return f"epoch {epoch}/{epochs}  loss {loss:.4f}{right}"


def epoch_line(record: dict, epochs: int) -> str:
    """Return the record of an epoch as a line to read; epochs: of the whole run."""
    fields = [f"epoch {record['epoch']:{len(str(epochs))}}/{epochs}", f"loss {record['train_loss']:.4f}"]
    if record.get("validation_accuracy") is not None:
        fields += [f"validation accuracy {record['validation_accuracy']:.2%}"]
    elif record.get("validation_loss") is not None:
        fields += [f"validation loss {record['validation_loss']:.4f}"]
    if record.get("test_loss") is not None:
        fields += [f"test loss {record['test_loss']:.4f}"]
    if record["test_accuracy"] is not None:
        fields += [f"test accuracy {record['test_accuracy']:.2%}"]
    if record["samples_per_second"] is not None:
        fields += [f"{record['samples_per_second']:,.0f} samples/s"]
    return "  ".join(fields)


def _print(stream: TextIO, descriptor: int, text: str) -> None:
    """Print a line; if the reader has closed the pipe, discard all further output."""
    try:
        say(text, stream)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
