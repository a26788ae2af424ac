"""Predictions as files and as text."""

import csv
import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distcnn.errors import OutputError
from distcnn.system.atomic_files import write_whole

ROWS = 4096  # of a .csv file, formatted at a time
MANY = 40  # more classes than these are not told one by one
FEW = 20  # images that are told one by one


@dataclass(frozen=True)
class Predictions:
    """What a checkpoint takes images for.

    predicted: int32 [n]; probabilities: float32 [n, classes]; labels: int32 [n], or None where nobody knows them;
    classes: their names; about: where all this comes from, by words.
    """

    predicted: np.ndarray
    probabilities: np.ndarray
    labels: np.ndarray | None
    classes: tuple[str, ...]
    about: dict

    @property
    def accuracy(self):
        """The part that is right, or None where nobody knows."""
        return None if self.labels is None else float(np.mean(self.predicted == self.labels))

    @property
    def record(self):
        """What a program wants to know, as one object for JSON."""
        counts = np.bincount(self.predicted, minlength=len(self.classes))
        found = {"samples": len(self.predicted), "accuracy": self.accuracy}
        return self.about | found | {"classes": list(self.classes), "counts": counts.tolist()}


def require_free(path, force):
    """Raise OutputError unless predictions may be written to this path."""
    if Path(path).suffix not in (".h5", ".csv"):
        raise OutputError(f"--out {path}: wanted a name that ends in .h5 or .csv")
    if os.path.lexists(path) and not force:
        raise OutputError(f"{path} is there already: choose another name, or replace it with --force")


def write(path, predictions):
    """Write predictions whole or not at all, as HDF5 or CSV, by the name's ending."""
    write_whole(path, *(_hdf5 if Path(path).suffix == ".h5" else _csv)(predictions))


def _hdf5(predictions):
    import h5py

    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        file["predicted"], file["probabilities"] = predictions.predicted, predictions.probabilities
        if predictions.labels is not None:
            file["labels"] = predictions.labels
        file.attrs["classes"] = list(predictions.classes)
        for key, value in predictions.about.items():
            file.attrs[key] = value
    yield memory.getbuffer()


def _csv(predictions):
    """Yield lines: the image's number, its label if known, the class, its name and probability, then those of all."""
    known = predictions.labels is not None
    yield _lines([["image", *["label"] * known, "predicted", "class", "probability", *predictions.classes]])
    for start in range(0, len(predictions.predicted), ROWS):
        yield _lines(_row(predictions, k, known) for k in range(len(predictions.predicted))[start:][:ROWS])


def _row(predictions, k, known):
    found, row = int(predictions.predicted[k]), predictions.probabilities[k]
    label = [int(predictions.labels[k])] if known else []
    return [k, *label, found, predictions.classes[found], *(f"{x:.9g}" for x in (row[found], *row))]


def _lines(rows):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode(errors="surrogateescape")


def told(predictions):
    """Yield lines for a person: each of a few images, else how often each class was found, and how often rightly."""
    number, labels = len(predictions.predicted), predictions.labels
    if labels is not None:
        right = int((predictions.predicted == labels).sum())
        yield f"accuracy {predictions.accuracy:.2%}: {right:,} of {number:,} are right"
    yield from _images(predictions) if number <= FEW else _classes(predictions)


def _images(predictions):
    for k, found in enumerate(predictions.predicted):
        wrong = predictions.labels is not None and predictions.labels[k] != found
        label = f"  (labelled {_name(predictions, predictions.labels[k])})" if wrong else ""
        yield f"{k:>4}  {_name(predictions, found)}  {predictions.probabilities[k, found]:.2%}{label}"


def _classes(predictions):
    counts = np.bincount(predictions.predicted, minlength=len(predictions.classes))
    if len(counts) > MANY:
        yield f"{np.count_nonzero(counts)} of {len(counts)} classes were predicted"
        return
    known = predictions.labels is not None
    width = max(5, *map(len, predictions.classes))
    yield f"{'class':<{width}}  predicted" + "  labelled  right" * known
    for k, count in enumerate(counts):
        line = f"{predictions.classes[k]:<{width}}  {count:>9,}"
        if known:
            mine = predictions.labels == k
            share = f"{np.mean(predictions.predicted[mine] == k):.1%}" if mine.any() else ""
            line += f"  {np.count_nonzero(mine):>8,}  {share:>6}"
        yield line.rstrip()


def _name(predictions, k):
    return predictions.classes[k] if 0 <= k < len(predictions.classes) else str(k)
