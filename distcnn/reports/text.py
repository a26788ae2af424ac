"""Reports as lines to read."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from distcnn.reports.confusion import Number
from distcnn.system.terminal_text import printable

ROWS = 20  # classes that are listed
LONGEST = 24  # columns of the name of a class
DOTS = "..."  # in place of what is left out
OTHERS = 3  # classes for which the images of a class are most often taken, which are listed

Record = dict[str, Any]


def of_classes(record: Record, width: int) -> Iterator[str]:
    """Yield a line of further numbers, then a table of the classes, those with the lowest F1 first.

    record: as `Classification.record` returns it.
    width: of the terminal, in columns.
    """
    top = {f"top-{k}": found for k, found in record["top_accuracy"].items() if k != "1"}
    yield _numbers(
        {
            "balanced accuracy": record["balanced_accuracy"],
            "macro F1": record["macro_f1"],
            "calibration error": record["calibration_error"],
            **top,
        }
    )
    head = "class", "precision", "recall", "F1", "images", "taken for"
    yield from _worst(head, record, record["f1"], lambda k: _of_class(record, k), width)


def of_labels(record: Record, width: int) -> Iterator[str]:
    """Yield a line of further numbers, then a table of the labels, those with the lowest average precision first.

    record: as `Multilabel.record` returns it.
    width: of the terminal, in columns.
    """
    yield _numbers({"calibration error": record["calibration_error"]})
    head = "label", "average precision", "precision", "recall", "F1", "images", ""
    yield from _worst(head, record, record["average_precision"], lambda k: _of_label(record, k), width)


def of_targets(record: Record, width: int) -> Iterator[str]:
    """Yield a table of the targets, in their order.

    record: as `Regression.record` returns it.
    width: of the terminal, in columns.
    """
    found, names = record["by_target"], record["targets"]
    rows = []
    for k in range(min(len(names), ROWS)):
        errors = (f"{found[name][k]:.4g}" for name in ("mean_absolute_error", "root_mean_squared_error"))
        r2 = found["r2"][k]
        rows.append((name_of(names, k), *errors, "-" if r2 is None else f"{r2:.4f}", ""))
    yield from table(("target", "mean absolute error", "root mean squared error", "R2", ""), rows, width)
    if len(names) > ROWS:
        yield f"{DOTS} and {len(names) - ROWS:,} more targets"


def _numbers(found: dict[str, Number]) -> str:
    """Return a line of fractions with their names."""
    return "  ".join(f"{name} {share(value)}" for name, value in found.items())


def _worst(
    head: tuple[str, ...],
    record: Record,
    values: list[Number],
    row: Callable[[int], tuple[str, ...]],
    width: int,
) -> Iterator[str]:
    """Yield a table of the classes or labels for which a value is lowest; those without samples come last."""

    def badness(k: int) -> tuple[bool, float, int]:
        return not record["support"][k], values[k] or 0.0, k

    worst = sorted(range(len(values)), key=badness)
    yield from table(head, [row(k) for k in worst[:ROWS]], width)
    if len(worst) > ROWS:
        kind = "classes" if head[0] == "class" else "labels"
        yield f"{DOTS} and {len(worst) - ROWS:,} more {kind}"


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]], width: int) -> Iterator[str]:
    """Yield the lines of a table, whose first and last columns are aligned to the left, the others to the right.

    width: of the terminal, in columns; longer lines are cut.
    """
    cells = [head, *rows]
    widths = [max(columns(row[k]) for row in cells) for k in range(len(head))]
    last = len(head) - 1
    for row in cells:
        padded = [
            _padded(cell, size, left=k in (0, last))
            for k, (cell, size) in enumerate(zip(row, widths, strict=True))
        ]
        yield shortened("  ".join(padded).rstrip(), width)


def share(number: Number) -> str:
    """Return a fraction in percent; a dash for None."""
    return "-" if number is None else f"{number:.2%}"


def columns(text: str) -> int:
    """Return how many columns of a terminal a text takes; Chinese characters and the like take two, accents none."""
    wide = sum(unicodedata.east_asian_width(each) in "WF" for each in text)
    return len(text) + wide - sum(unicodedata.category(each) in ("Mn", "Me", "Cf") for each in text)


def shortened(text: str, width: int) -> str:
    """Return a text, or its beginning and dots, in at most so many columns."""
    if columns(text) <= width:
        return text
    while text and columns(text) > width - len(DOTS):
        text = text[:-1]
    return text + DOTS


def _padded(cell: str, width: int, left: bool) -> str:
    """Return a cell with spaces: behind it if it is aligned to the left, else before it."""
    spaces = " " * (width - columns(cell))
    return cell + spaces if left else spaces + cell


def _of_class(record: Record, k: int) -> tuple[str, ...]:
    """Return the cells of the row on class k."""
    fractions = (share(record[each][k]) for each in ("precision", "recall", "f1"))
    others = (f"{name_of(record['classes'], other)} ({count:,})" for other, count in _taken_for(record, k))
    return (name_of(record["classes"], k), *fractions, f"{record['support'][k]:,}", ", ".join(others))


def _of_label(record: Record, k: int) -> tuple[str, ...]:
    """Return the cells of the row on label k."""
    fractions = (share(record[each][k]) for each in ("average_precision", "precision", "recall", "f1"))
    return (name_of(record["classes"], k), *fractions, f"{record['support'][k]:,}", "")


def name_of(classes: list[str], k: int) -> str:
    """Return the name of class k, shortened."""
    return shortened(printable(classes[k]), LONGEST)


def _taken_for(record: Record, k: int) -> list[tuple[int, int]]:
    """Return the classes for which samples of class k are most often taken, and how often."""
    if record["confusion"] is None:
        return [(other, count) for label, other, count in record["confused"] if label == k][:OTHERS]
    row = record["confusion"][k]
    others = sorted((-count, other) for other, count in enumerate(row) if count and other != k)
    return [(other, -count) for count, other in others[:OTHERS]]
