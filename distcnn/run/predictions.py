"""Predictions: writing them to files, and describing them in text; `row_predictions` has those of other tasks."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator
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
    names: tuple[str, ...] | None = None  # of the images, if they have any
    top: int = 1  # how many classes to show for an image, the most probable ones

    @property
    def best(self) -> np.ndarray:
        """The most probable classes of each image, int64 [n, top]; the predicted one is first."""
        if self.top == 1:
            return self.predicted[:, None]
        weights = self.probabilities.copy()
        np.put_along_axis(weights, self.predicted[:, None].astype(np.int64), 2.0, axis=1)  # before its equals
        return np.argsort(-weights, axis=1, kind="stable")[:, : self.top]

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

    @property
    def every(self) -> dict:
        """What is known of every image, as an object for JSON."""
        found: dict = {"predicted": self.predicted.tolist()}
        if self.names is not None:
            found["images"] = [printable(name) for name in self.names]
        if self.top > 1:
            rows = zip(self.best.tolist(), self.probabilities, strict=True)
            found["top"] = [[[self.classes[k], float(row[k])] for k in best] for best, row in rows]
        return found

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What a .h5 file holds of the images, by name."""
        found = {"predicted": self.predicted, "probabilities": self.probabilities}
        return found | ({"top": self.best.astype(np.int32)} if self.top > 1 else {})

    def table(self) -> tuple[list[str], Callable[[int], list]]:
        """Return the head of a table of the images, and a function that returns the cells of image k.

        A row has the label if known, the predicted class's number, name and probability, the names of the next classes
        if they were asked for, and the probabilities of all classes.
        """
        best = self.best
        more = [f"class {k}" for k in range(2, best.shape[1] + 1)]
        head = [*["label"] * (self.labels is not None), "predicted", "class", "probability", *more]
        return [*head, *map(cell, self.classes)], lambda k: _cells(self, k, best[k])

    def lines(self) -> Iterator[str]:
        """Yield lines to read: the accuracy, then one for each image if there are few, otherwise for each class."""
        number, labels = len(self.predicted), self.labels
        if labels is not None:
            correct = int((self.predicted == labels).sum())
            are = "is" if correct == 1 else "are"
            yield f"accuracy {self.accuracy:.2%}: {correct:,} of {number:,} {are} correct"
        is_listed = number <= FEW_IMAGES or self.top > 1
        yield from _images(self) if is_listed else _classes(self)


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
        for name, array in predictions.arrays.items():
            file[name] = array
        if predictions.labels is not None:
            file["labels"] = predictions.labels
        if predictions.names is not None:
            names = [printable(name) for name in predictions.names]
            file.create_dataset("names", data=names, dtype=h5py.string_dtype())
        file.attrs["classes"] = [_utf8(name) for name in predictions.classes]
        for key, value in predictions.about.items():
            file.attrs[key] = _utf8(value) if isinstance(value, str) else value
    yield memory.getbuffer()


def _utf8(text: str) -> str:
    """Return a text in which bytes that are not UTF-8, as names of files and classes may have, are escaped."""
    return text.encode(errors="backslashreplace").decode()


def _csv(predictions: Predictions) -> Iterator[bytes]:
    """Yield the bytes of a CSV file, some lines at a time.

    A line has the name of the image, or its number, then the cells of `Predictions.table`.
    """
    head, cells = predictions.table()
    names = predictions.names
    yield _lines([["image", *head]])
    for start in range(0, len(predictions.predicted), ROWS):
        stop = min(start + ROWS, len(predictions.predicted))
        yield _lines([k if names is None else cell(names[k]), *cells(k)] for k in range(start, stop))


def _cells(predictions: Predictions, k: int, best: np.ndarray) -> list:
    """Return the cells of image k; best: its most probable classes."""
    found, row = int(predictions.predicted[k]), predictions.probabilities[k]
    label = [] if predictions.labels is None else [int(predictions.labels[k])]
    first, *more = (cell(predictions.classes[number]) for number in best)
    return [*label, found, first, f"{row[found]:.9g}", *more, *(f"{x:.9g}" for x in row)]


def cell(name: str) -> str:
    """Return a name as a cell: printable, and behind an apostrophe if a spreadsheet would carry it out."""
    return printable(f"'{name}" if name.startswith(FORMULA) else name)


def _lines(rows: Iterable[list]) -> bytes:
    """Return rows as lines of CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode(errors="surrogateescape")


# ---- text ----


def describe(predictions: Predictions) -> Iterator[str]:
    """Yield lines to read."""
    yield from predictions.lines()


def _images(predictions: Predictions) -> Iterator[str]:
    """Yield a line for each image."""
    for k, best in enumerate(predictions.best):
        label = ""
        if predictions.labels is not None and predictions.labels[k] != best[0]:
            label = f"  (labeled {_name(predictions, predictions.labels[k])})"
        name = f"{k:>4}" if predictions.names is None else predictions.names[k]
        row = predictions.probabilities[k]
        found = "  ".join(f"{_name(predictions, each)}  {row[each]:.2%}" for each in best)
        yield f"{name}  {found}{label}"


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
