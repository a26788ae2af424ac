"""curves.png: loss and accuracy by epoch, drawn from the metrics; a picture that fails never stops a run."""

import io
import json
import subprocess
import sys

from distcnn.files import write_whole

DRAW = "import sys; sys.path[:] = sys.argv[2:]; from distcnn.report.curves import main; main(sys.argv[1])"

TRAIN, TEST = "#1f6fb4", "#d9690f"  # blue and orange: told apart in any kind of colour vision
VALIDATION = "#8a8a8a"


def draw(records, path, title, warn):
    """Draw metrics records into a PNG file; `warn` takes the line that says why it could not be done.

    A process of its own draws: what it is drawn with takes more memory than a whole rank's arrays.
    """
    words = [sys.executable, "-c", DRAW, title, *sys.path]
    try:
        done = subprocess.run(words, input=json.dumps(records).encode(), capture_output=True)
        if done.returncode:
            lines = done.stderr.decode(errors="replace").splitlines()
            raise RuntimeError(lines[-1] if lines else f"its process ended with {done.returncode}")
        write_whole(path, done.stdout)
    except Exception as error:  # no font, no memory, no disk: the run goes on
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        warn(f"no curves drawn: {reason}")


def main(title):
    """Read records from standard input and write a picture to standard output."""
    sys.stdout.buffer.write(_png(json.load(sys.stdin), title))


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
