"""confusion.png: the confusion matrix, and the classes that are most often taken for another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from distcnn.reports.figures import GRAY, RIGHT, WRONG, labels_of, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NUMBERED = 25  # classes up to which each cell has its number
NAMED = 60  # classes up to which each row and column has its name
SMALLEST, LARGEST = 3.2, 8.0  # inches of the matrix
CELLS = 250  # rows and columns of the picture, which can be told apart
CELL = 0.42  # inches of a cell
FEWEST = 12  # classes from which on the most frequent mistakes are listed beside the matrix

Record = dict[str, Any]


def draw(record: Record, title: str) -> bytes:
    """Return the bytes of a PNG file; record: as `Classification.record` returns it."""
    from matplotlib.figure import Figure

    names, fonts = labels_of(record["classes"])
    has_matrix, has_list = record["confusion"] is not None, len(names) > FEWEST
    side = min(max(SMALLEST, CELL * len(names)), LARGEST)
    widths = [side + 1.2] * has_matrix + [3.4] * has_list
    figure = Figure(figsize=(sum(widths), side + 1.3), dpi=130, layout="constrained")
    figure.suptitle(
        f"{title}: {record['accuracy']:.2%} correct", fontsize=10, parse_math=False, fontfamily=fonts
    )
    places = iter(figure.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0])
    if has_matrix:
        _matrix(next(places), np.array(record["confusion"]), names, fonts)
    if has_list:
        _list(next(places), record, names, fonts)
    return png(figure)


def _matrix(axes: Axes, counts: np.ndarray, names: list[str], fonts: list[str]) -> None:
    """Draw the confusion matrix: right answers in blue, mistakes in orange, as shares of the images of a class."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    edges = -0.5, len(names) - 0.5
    axes.imshow(_colors(shares), interpolation="nearest", extent=(*edges, *edges[::-1]))
    axes.set_xlabel("predicted class")
    axes.set_ylabel("class")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    if len(names) > NAMED:
        return
    size = 8 if len(names) <= NUMBERED else 5.5
    upright = max(map(len, names)) > 2 and len(names) > 3
    axes.set_xticks(range(len(names)), names, fontsize=size, fontfamily=fonts, parse_math=False)
    axes.set_yticks(range(len(names)), names, fontsize=size, fontfamily=fonts, parse_math=False)
    if upright:
        axes.tick_params(axis="x", rotation=90)
    _separate(axes, len(names))
    if len(names) <= NUMBERED:
        _number(axes, counts, shares)


def _colors(shares: np.ndarray) -> np.ndarray:
    """Return a color for each cell, float64 [n, n, 3]; the root of a share makes few mistakes visible.

    With many classes a cell stands for several neighbors, and has the color of the largest share among them.
    """
    from matplotlib.colors import to_rgb

    diagonal = np.eye(len(shares), dtype=bool)
    right = _largest(np.where(diagonal, 0.85 * shares, 0))[:, :, None]
    wrong = _largest(np.where(diagonal, 0, np.sqrt(shares)))[:, :, None]
    strength, full = np.maximum(right, wrong), np.where(right > 0, to_rgb(RIGHT), to_rgb(WRONG))
    return 1 - strength * (1 - full)


def _largest(cells: np.ndarray) -> np.ndarray:
    """Return the largest of neighboring cells, so that at most CELLS rows and columns are left."""
    size = -(-len(cells) // CELLS)
    starts = np.arange(0, len(cells), size)
    return np.maximum.reduceat(np.maximum.reduceat(cells, starts, axis=0), starts, axis=1)


def _separate(axes: Axes, classes: int) -> None:
    """Draw light lines between the cells."""
    edges = np.arange(classes + 1) - 0.5
    axes.hlines(edges, -0.5, classes - 0.5, color="#dddddd", linewidth=0.5)
    axes.vlines(edges, -0.5, classes - 0.5, color="#dddddd", linewidth=0.5)


def _number(axes: Axes, counts: np.ndarray, shares: np.ndarray) -> None:
    """Write the number of samples into each cell that has some."""
    longest = len(str(counts.max()))
    size = min(8.0, 22 / longest)
    for label, predicted in np.argwhere(counts).tolist():
        share = shares[label, predicted]
        dark = share > 0.55 if label == predicted else share > 0.4
        color = "white" if dark else "black"
        text = str(counts[label, predicted])
        axes.text(predicted, label, text, ha="center", va="center", fontsize=size, color=color)


def _list(axes: Axes, record: Record, names: list[str], fonts: list[str]) -> None:
    """List the pairs of classes that are most often confused, with a bar for the number of each."""
    pairs = record["confused"]
    axes.set_title("most frequent mistakes", fontsize=9)
    axes.spines[:].set_visible(False)
    axes.set_xticks([])
    axes.tick_params(length=0)
    rows = range(len(pairs))
    counts = [count for _, _, count in pairs]
    texts = [f"{names[label]} → {names[other]}" for label, other, _ in pairs]
    bars = axes.barh(rows, counts, color=WRONG, height=0.6)
    axes.bar_label(bars, [f"{count:,}" for count in counts], padding=2, fontsize=7, color=GRAY)
    axes.set_yticks(rows, texts, fontsize=7, fontfamily=fonts, parse_math=False)
    axes.set_ylim(19.5, -0.5)
    axes.margins(x=0.15)
