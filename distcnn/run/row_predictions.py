"""Predictions of several labels for an image, and of numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from distcnn.config.types import CLASSIFY, MULTILABEL, REGRESS
from distcnn.run.predictions import FEW_IMAGES, MANY_CLASSES, Predictions, cell
from distcnn.system.terminal_text import printable


class LabelPredictions(Predictions):
    """The labels that a net predicts for images: uint8 [n, labels], 1 where a probability is above 0.5."""

    @property
    def accuracy(self) -> float | None:
        """The fraction of images of which all labels are right, or None if labels are unknown."""
        return None if self.labels is None else float((self.predicted == self.labels).all(axis=1).mean())

    @property
    def record(self) -> dict:
        """A summary as an object for JSON; counts: how many images each label is predicted for."""
        found = {"samples": len(self.predicted), "accuracy": self.accuracy, "classes": list(self.classes)}
        return self.about | found | {"counts": self.predicted.sum(axis=0, dtype=np.int64).tolist()}

    @property
    def every(self) -> dict:
        """What is known of every image, as an object for JSON."""
        found: dict = {"predicted": self.predicted.tolist(), "probabilities": self.probabilities.tolist()}
        return found | names_of(self)

    def table(self) -> tuple[list[str], Callable[[int], list]]:
        """Return the head of a table and a function that returns the cells of image k.

        A row has the labels if known, then 0 or 1 for each label, then the probability of each.
        """
        names, known = [cell(name) for name in self.classes], self.labels

        def cells(k: int) -> list:
            labels = [] if known is None else known[k].tolist()
            return [*labels, *self.predicted[k].tolist(), *(f"{x:.9g}" for x in self.probabilities[k])]

        head = [f"label {name}" for name in names] if known is not None else []
        return [*head, *names, *(f"probability {name}" for name in names)], cells

    def lines(self) -> Iterator[str]:
        """Yield lines to read: how many images are right, then one for each image or for each label."""
        number = len(self.predicted)
        if self.labels is not None:
            correct = int((self.predicted == self.labels).all(axis=1).sum())
            are = "has" if correct == 1 else "have"
            yield f"accuracy {self.accuracy:.2%}: {correct:,} of {number:,} {are} all labels right"
        yield from self._images() if number <= FEW_IMAGES else self._labels()

    def _images(self) -> Iterator[str]:
        """Yield a line for each image: its labels with their probabilities, the most probable first."""
        for k, row in enumerate(self.probabilities):
            found = [label for label in np.argsort(-row, kind="stable") if self.predicted[k, label]]
            labels = "  ".join(f"{self.classes[label]}  {row[label]:.2%}" for label in found) or "no label"
            yield f"{_name(self, k)}  {labels}{self._differs(k)}"

    def _differs(self, k: int) -> str:
        """Return which labels image k has, if they are known and others than those predicted."""
        if self.labels is None or (self.labels[k] == self.predicted[k]).all():
            return ""
        has = [self.classes[label] for label in np.flatnonzero(self.labels[k])]
        return f"  (labeled {', '.join(has) or 'with none'})"

    def _labels(self) -> Iterator[str]:
        """Yield a line for each label: for how many images it is predicted, and how many have it."""
        if len(self.classes) > MANY_CLASSES:
            found = np.count_nonzero(self.predicted.any(axis=0))
            yield f"{found} of {len(self.classes)} labels {'was' if found == 1 else 'were'} predicted"
            return
        names = [printable(name) for name in self.classes]
        width = max(5, *map(len, names))
        yield f"{'label':<{width}}  predicted" + ("" if self.labels is None else "   labeled   both")
        for k, name in enumerate(names):
            predicted = self.predicted[:, k] > 0
            line = f"{name:<{width}}  {np.count_nonzero(predicted):>9,}"
            if self.labels is not None:
                has = self.labels[:, k] > 0
                line += f"  {np.count_nonzero(has):>8,}  {np.count_nonzero(has & predicted):>5,}"
            yield line


class TargetPredictions(Predictions):
    """The numbers that a net predicts for images, float32 [n, targets], in the units of the targets."""

    @property
    def accuracy(self) -> None:
        """None, as no number is right or wrong."""
        return None

    @property
    def record(self) -> dict:
        """A summary as an object for JSON."""
        found: dict = {"samples": len(self.predicted), "targets": list(self.classes)}
        if self.labels is not None:
            found["mean_absolute_error"] = self._errors.tolist()
        return self.about | found

    @property
    def every(self) -> dict:
        """What is known of every image, as an object for JSON."""
        return {"predicted": self.predicted.tolist()} | names_of(self)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What a .h5 file holds of the images, by name."""
        return {"predicted": self.predicted}

    def table(self) -> tuple[list[str], Callable[[int], list]]:
        """Return the head of a table and a function that returns the cells of image k: labels if known, predictions."""
        names, known = [cell(name) for name in self.classes], self.labels
        both = [self.predicted] if known is None else [known, self.predicted]
        head = [f"label {name}" for name in names] if known is not None else []
        return [*head, *names], lambda k: [f"{x:.9g}" for array in both for x in array[k]]

    def lines(self) -> Iterator[str]:
        """Yield lines to read: one for each image if there are few, otherwise one for each target."""
        if len(self.predicted) > FEW_IMAGES:
            yield from self._targets()
            return
        for k, row in enumerate(self.predicted):
            values = "  ".join(f"{name}  {x:.6g}" for name, x in zip(self.classes, row, strict=True))
            label = (
                "" if self.labels is None else f"  (labeled {', '.join(f'{x:.6g}' for x in self.labels[k])})"
            )
            yield f"{_name(self, k)}  {values}{label}"

    @property
    def _errors(self) -> np.ndarray:
        """The mean absolute error of each target, float64 [targets]; labels must be known."""
        assert self.labels is not None
        return np.abs(self.predicted.astype(np.float64) - self.labels).mean(axis=0)

    def _targets(self) -> Iterator[str]:
        """Yield a line for each target: the range of its predictions, and their mean error."""
        names = [printable(name) for name in self.classes]
        width = max(6, *map(len, names))
        known = self.labels is not None
        yield (
            f"{'target':<{width}}  {'lowest':>12}  {'mean':>12}  {'highest':>12}"
            + "  mean absolute error" * known
        )
        for k, name in enumerate(names):
            column = self.predicted[:, k].astype(np.float64)
            numbers = "  ".join(f"{x:>12.6g}" for x in (column.min(), column.mean(), column.max()))
            yield f"{name:<{width}}  {numbers}" + (f"  {self._errors[k]:>19.6g}" if known else "")


def names_of(predictions: Predictions) -> dict:
    """Return the names of the images as an object for JSON; {} if they have none."""
    names = predictions.names
    return {} if names is None else {"images": [printable(name) for name in names]}


def _name(predictions: Predictions, k: int) -> str:
    return f"{k:>4}" if predictions.names is None else predictions.names[k]


PREDICTIONS = {CLASSIFY: Predictions, MULTILABEL: LabelPredictions, REGRESS: TargetPredictions}  # by task
