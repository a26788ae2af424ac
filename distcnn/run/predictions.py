"""Predictions: writing them to files, and describing them in text."""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distcnn.errors import OutputError
from distcnn.system import atomic_files
from distcnn.system.atomic_files import write_whole
from distcnn.system.terminal_text import printable

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # a spreadsheet may evaluate a cell that begins so
ROWS = 4096  # of a .csv file, which are formatted at a time
MANY_CLASSES = 40  # with more classes, they are not listed one by one
FEW_IMAGES = 20  # up to so many images are listed one by one


@dataclass(frozen=True)
class Predictions:
    """The classes that a net predicts for images, with their probabilities."""

    predicted: np.ndarray  # int32 [n], numbers of classes
    probabilities: np.ndarray  # float32 [n, classes]
    labels: np.ndarray | None  # int32 [n], or None where they are unknown
    classes: tuple[str, ...]
    about: dict  # the origin of the predictions: checkpoint, epoch, step, data, split, digest

    @property
    def accuracy(self) -> float | None:
        """The fraction of images with correct predictions, or None if labels are unknown."""
        return None if self.labels is None else float(np.mean(self.predicted == self.labels))

    @property
    def record(self) -> dict:
        """A summary as an object for JSON."""
        counts = np.bincount(self.predicted, minlength=len(self.classes))
        found = {"samples": len(self.predicted), "accuracy": self.accuracy}
        return self.about | found | {"classes": list(self.classes), "counts": counts.tolist()}


# ---- files ----


def require_free(path: str | Path, force: bool) -> None:
    """Raise OutputError unless predictions may be written to this path.

    force: whether an existing file may be replaced.
    """
    if Path(path).suffix not in (".h5", ".csv"):
        raise OutputError(f"--out {path}: wanted a name that ends in .h5 or .csv")
    atomic_files.require_free(path, force)


def write(path: str | Path, predictions: Predictions) -> None:
    """Write predictions atomically, as HDF5 or CSV, depending on the suffix of the path."""
    pieces = _hdf5(predictions) if Path(path).suffix == ".h5" else _csv(predictions)
    write_whole(path, *pieces)


def _hdf5(predictions: Predictions) -> Iterator[memoryview]:
    """Yield the bytes of an HDF5 file."""
    import h5py

    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        file["predicted"], file["probabilities"] = predictions.predicted, predictions.probabilities
        if predictions.labels is not None:
            file["labels"] = predictions.labels
        file.attrs["classes"] = [_utf8(name) for name in predictions.classes]
        for key, value in predictions.about.items():
            file.attrs[key] = _utf8(value) if isinstance(value, str) else value
    yield memory.getbuffer()


def _utf8(text: str) -> str:
    """Return a text in which bytes that are not UTF-8, as names of files and classes may have, are escaped."""
    return text.encode(errors="backslashreplace").decode()


def _csv(predictions: Predictions) -> Iterator[bytes]:
    """Yield the bytes of a CSV file, some lines at a time.

    A line has the number of the image, its label if known, the predicted class's number, name and probability, and the
    probabilities of all classes.
    """
    known = predictions.labels is not None
    names = map(_cell, predictions.classes)
    yield _lines([["image", *["label"] * known, "predicted", "class", "probability", *names]])
    for start in range(0, len(predictions.predicted), ROWS):
        stop = min(start + ROWS, len(predictions.predicted))
        yield _lines(_row(predictions, k) for k in range(start, stop))


def _row(predictions: Predictions, k: int) -> list:
    """Return the fields of the line on image k."""
    found, row = int(predictions.predicted[k]), predictions.probabilities[k]
    label = [] if predictions.labels is None else [int(predictions.labels[k])]
    return [k, *label, found, _cell(predictions.classes[found]), *(f"{x:.9g}" for x in (row[found], *row))]


def _cell(name: str) -> str:
    """Return a class's name as a cell: printable, and behind an apostrophe if a spreadsheet would carry it out."""
    return printable(f"'{name}" if name.startswith(FORMULA) else name)


def _lines(rows: Iterable[list]) -> bytes:
    """Return rows as lines of CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode(errors="surrogateescape")


# ---- text ----


def describe(predictions: Predictions) -> Iterator[str]:
    """Yield lines to read: the accuracy, then a line for each image if there are few, otherwise for each class."""
    number, labels = len(predictions.predicted), predictions.labels
    if labels is not None:
        correct = int((predictions.predicted == labels).sum())
        are = "is" if correct == 1 else "are"
        yield f"accuracy {predictions.accuracy:.2%}: {correct:,} of {number:,} {are} correct"
    yield from _images(predictions) if number <= FEW_IMAGES else _classes(predictions)


def _images(predictions: Predictions) -> Iterator[str]:
    """Yield a line for each image."""
    for k, found in enumerate(predictions.predicted):
        label = ""
        if predictions.labels is not None and predictions.labels[k] != found:
            label = f"  (labeled {_name(predictions, predictions.labels[k])})"
        yield f"{k:>4}  {_name(predictions, found)}  {predictions.probabilities[k, found]:.2%}{label}"


def _classes(predictions: Predictions) -> Iterator[str]:
    """Yield a line for each class: how often it was predicted, and the fraction of its images that are correct."""
    counts = np.bincount(predictions.predicted, minlength=len(predictions.classes))
    if len(counts) > MANY_CLASSES:
        found = np.count_nonzero(counts)
        yield f"{found} of {len(counts)} classes {'was' if found == 1 else 'were'} predicted"
        return
    labels = predictions.labels
    names = [printable(name) for name in predictions.classes]
    width = max(5, *map(len, names))
    yield f"{'class':<{width}}  predicted" + ("" if labels is None else "   labeled correct")
    for k, count in enumerate(counts):
        line = f"{names[k]:<{width}}  {count:>9,}"
        if labels is not None:
            of_class = np.equal(labels, k)
            share = f"{np.mean(predictions.predicted[of_class] == k):.1%}" if of_class.any() else ""
            line += f"  {np.count_nonzero(of_class):>8,}  {share:>6}"
        yield line.rstrip()


def _name(predictions: Predictions, k: int) -> str:
    """Return the name of class k, or its number if the net has no such class."""
    return predictions.classes[k] if 0 <= k < len(predictions.classes) else str(k)
