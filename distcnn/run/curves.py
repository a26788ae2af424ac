"""curves.png: loss and accuracy by epoch, drawn from the metrics; if drawing fails, the run only prints a warning.

The same process draws the pictures of the report, when there is one.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import numpy as np

from distcnn.reports import files as report_files
from distcnn.run.metrics_log import Metrics
from distcnn.system.atomic_files import write_whole
from distcnn.system.python import python

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAUSE = 0.1  # seconds between two signs of life
NOT_THE_REPORT = 4  # the exit code if the curves are drawn, but not the pictures of the report
LIMIT = 300  # seconds after which a drawing that does not end is given up
DRAW = "import sys; sys.path[:] = sys.argv[5:]; from distcnn.run.curves import main; main(*sys.argv[1:5])"

TRAIN, TEST = "#1f6fb4", "#d9690f"  # blue and orange, which differ in any kind of color vision
VALIDATION = "#8a8a8a"
COLORS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}  # by split


class Curves:
    """Draws the picture of the records in a metrics file.

    Another process draws it while training continues, because Matplotlib takes half a second to import, and more memory
    than all arrays of a rank.

    metrics: the path of the metrics file.
    path: the path of the PNG file.
    title: a line above the picture.
    warn: called with a message if the picture could not be drawn.
    wait: called again and again while this process waits for the other one, as a sign that it does not hang.

    report: the folder of a report and the images that its pictures show, which the next drawing draws, too; or None.
    """

    def __init__(
        self,
        metrics: str | Path,
        path: str | Path,
        title: str,
        warn: Callable[[str], None],
        wait: Callable[[], None] = lambda: None,
    ) -> None:
        self._arguments = str(metrics), str(path), title
        self._warn, self._wait = warn, wait
        self._process: subprocess.Popen[bytes] | None = None
        self.report: tuple[Path, np.ndarray] | None = None

    def draw(self) -> None:
        """Start a process that draws the records that the metrics file has now."""
        self.finish()
        (folder, images), self.report = self.report or ("", None), None
        command = [*python(), "-c", DRAW, *self._arguments, str(folder), *sys.path]
        none, pipe = subprocess.DEVNULL, subprocess.PIPE
        try:
            with _file(images) as source:
                self._process = subprocess.Popen(command, stdin=source, stdout=none, stderr=pipe)
        except OSError as error:
            self._warn(f"no curves drawn: {error.strerror}")

    def finish(self) -> None:
        """Wait until the picture that was last started is drawn."""
        if self._process is None:
            return
        stderr, code = self._ended(self._process), self._process.returncode
        self._process = None
        if code:
            lines = stderr.decode(errors="replace").splitlines()
            reason = lines[-1] if lines else f"the drawing process ended with exit code {code}"
            what = "report" if code == NOT_THE_REPORT else "curves"
            self._warn(f"no {what} drawn: {reason}")

    def _ended(self, process: subprocess.Popen[bytes]) -> bytes:
        """Wait for the end of the process, or kill it; return what it has written on stderr."""
        for _ in range(round(LIMIT / PAUSE)):
            with suppress(subprocess.TimeoutExpired):
                return process.communicate(timeout=PAUSE)[1]
            self._wait()
        process.kill()
        return process.communicate()[1]


def main(metrics: str, path: str, title: str, report: str = "") -> None:
    """Draw the records of a metrics file into a PNG file, and the pictures of a report.

    report: the folder of the report, whose images come from stdin; "" if there is none.
    """
    write_whole(path, _png(Metrics(metrics).records(), title))
    if report:
        images = np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False)
        try:
            report_files.redraw(Path(report), images)
        except Exception:
            traceback.print_exc()
            sys.exit(NOT_THE_REPORT)


def _file(images: np.ndarray | None) -> IO[bytes]:
    """Return a file without a name, from which the process that draws images reads them.

    Not a pipe: it takes 64 KiB before somebody reads, and `communicate` with a timeout does not send the rest later.
    """
    file = tempfile.TemporaryFile()  # noqa: SIM115  (closed by whoever starts the process)
    if images is not None:
        np.save(file, images, allow_pickle=False)
        file.seek(0)
    return file


def _png(records: list[dict], title: str) -> bytes:
    """Return the bytes of a PNG picture: loss on the left, accuracy on the right if it is measured."""
    from matplotlib.figure import Figure  # without pyplot: no display, no global state

    by_epoch = {record["epoch"]: record for record in records}  # the last record of each epoch
    has_accuracy = not records or any(record.get("train_accuracy") is not None for record in records)
    figure = Figure(figsize=(9 if has_accuracy else 5, 3.6), dpi=130, layout="constrained")
    figure.suptitle(title, fontsize=11, parse_math=False)  # a "$" in a name is no formula
    panels = figure.subplots(1, 1 + has_accuracy, squeeze=False)[0]
    _plot(panels[0], by_epoch, "loss", "{:.4f}")
    _scale_loss(panels[0])
    if has_accuracy:
        _plot(panels[1], by_epoch, "accuracy", "{:.2%}")
        panels[1].yaxis.set_major_formatter(lambda value, position: f"{100 * value:.4g}%")
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return image.getvalue()


def _plot(axes: Axes, by_epoch: dict[int, dict], name: str, form: str) -> None:
    """Plot a number of each split by epoch; form: the format of the last one in the legend."""
    for split, color in COLORS.items():
        _line(axes, by_epoch, f"{split}_{name}", color, f"{split}  {form}")
    _finish(axes, name, by_epoch)


def _line(axes: Axes, by_epoch: dict[int, dict], key: str, color: str, label: str) -> None:
    """Plot one number of the records by epoch, or nothing if no record has it.

    by_epoch: the records by epoch.
    key: of the number in a record.
    label: a format for the legend, which is filled with the last value.
    """
    points = [(epoch, record[key]) for epoch, record in by_epoch.items() if record.get(key) is not None]
    if points:
        marker = "o" if len(points) <= 40 else ""
        axes.plot(*zip(*points, strict=True), color=color, label=label.format(points[-1][1]), marker=marker)


def _finish(axes: Axes, title: str, by_epoch: dict[int, dict]) -> None:
    """Add title, ticks, grid and legend to axes."""
    from matplotlib.ticker import MaxNLocator

    axes.set_title(title, fontsize=10)
    axes.set_xlabel("epoch")
    axes.set_xlim(min(by_epoch, default=1) - 0.5, max(by_epoch, default=1) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.lines:
        axes.legend(frameon=False)
    else:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color="#888888")


def _scale_loss(axes: Axes) -> None:
    """Use a logarithmic axis, with labels in plain digits, if the losses differ by more than a factor of 8."""
    from matplotlib.ticker import LogLocator, NullFormatter

    values = [value for line in axes.lines for value in cast(list, line.get_ydata())]
    if values and min(values) > 0 and max(values) > 8 * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(lambda value, position: f"{value:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
