"""curves.png: loss and accuracy by epoch, drawn from the metrics; a picture that fails never stops a run."""

import io
import subprocess
import sys

from distcnn.run.metrics import Metrics
from distcnn.system.atomic_files import write_whole

DRAW = "import sys; sys.path[:] = sys.argv[4:]; from distcnn.run.curves import main; main(*sys.argv[1:4])"

TRAIN, TEST = "#1f6fb4", "#d9690f"  # blue and orange: told apart in any kind of colour vision
VALIDATION = "#8a8a8a"


class Curves:
    """The picture of the records in a metrics file; `warn` takes the line that says why it could not be drawn.

    A process of its own draws, beside what goes on here: what it is drawn with takes half a second to import, and more
    memory than a whole rank's arrays.
    """

    def __init__(self, metrics, path, title, warn):
        self._given, self._warn, self._process = (str(metrics), str(path), title), warn, None

    def draw(self):
        """Begin to draw the records that there are now."""
        self.finish()
        words = [sys.executable, "-c", DRAW, *self._given, *sys.path]
        try:
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
        except OSError as error:
            self._warn(f"no curves drawn: {error.strerror}")

    def finish(self):
        """Return when what was begun is drawn."""
        if self._process is None:
            return
        (_, said), code = self._process.communicate(), self._process.returncode
        self._process = None
        if code:
            lines = said.decode(errors="replace").splitlines()
            self._warn(f"no curves drawn: {lines[-1] if lines else f'their process ended with {code}'}")


def main(metrics, path, title):
    """Draw the records of a metrics file into a PNG file."""
    write_whole(path, _png(Metrics(metrics).records(), title))


def _png(records, title):
    """Return the bytes of the picture: loss at the left, accuracy at the right."""
    from matplotlib.figure import Figure  # without pyplot: no display, no global state

    by_epoch = {record["epoch"]: record for record in records}  # the last word on each epoch
    figure = Figure(figsize=(9, 3.6), dpi=130, layout="constrained")
    figure.suptitle(title, fontsize=11, parse_math=False)  # a "$" in a name is no formula
    loss, accuracy = figure.subplots(1, 2)
    _line(loss, by_epoch, "train_loss", TRAIN, "train  {:.4f}")
    _line(loss, by_epoch, "validation_loss", VALIDATION, "validation  {:.4f}")
    _line(loss, by_epoch, "test_loss", TEST, "test  {:.4f}")
    _line(accuracy, by_epoch, "train_accuracy", TRAIN, "train  {:.2%}")
    _line(accuracy, by_epoch, "validation_accuracy", VALIDATION, "validation  {:.2%}")
    _line(accuracy, by_epoch, "test_accuracy", TEST, "test  {:.2%}")
    _finish(loss, "loss", by_epoch)
    _finish(accuracy, "accuracy", by_epoch)
    _scale_loss(loss)
    accuracy.yaxis.set_major_formatter(lambda value, position: f"{100 * value:.4g}%")
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return image.getvalue()


def _line(axes, by_epoch, key, colour, label):
    """Plot one number by epoch, its last value in the legend; nothing where it was never measured."""
    points = [(epoch, record[key]) for epoch, record in by_epoch.items() if record.get(key) is not None]
    if points:
        marker = "o" if len(points) <= 40 else ""
        axes.plot(*zip(*points, strict=True), color=colour, label=label.format(points[-1][1]), marker=marker)


def _finish(axes, title, by_epoch):
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


def _scale_loss(axes):
    """Use a logarithmic axis, with its numbers in plain digits, where a loss falls far."""
    from matplotlib.ticker import LogLocator, NullFormatter

    values = [value for line in axes.lines for value in line.get_ydata()]
    if values and min(values) > 0 and max(values) > 8 * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(lambda value, position: f"{value:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
