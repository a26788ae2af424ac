"""mistakes.png: the worst mistakes as a contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from distcnn.data import pixels
from distcnn.reports.figures import GRAY, labels_of, png
from distcnn.reports.mistakes import MOST
from distcnn.system.counts import plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Record = dict[str, Any]

ACROSS = 6  # images in a row
SIDE, GAP = 1.3, 0.12  # inches: the longer side of an image, and the space between two
TITLE, ABOVE, BELOW = 0.36, 0.28, 0.14  # inches of text: of the picture, above and below each image
SHORTEST = 0.25  # of the shorter side of an image, as a fraction of the longer one


def of_classes(record: Record, images: np.ndarray, title: str) -> bytes:
    """Return the bytes of a PNG file for a net that classifies: what it has predicted, and what is right.

    record: as `Classification.record` returns it.
    images: of its mistakes, [n, c, h, w].
    """
    names, fonts = labels_of(record["classes"])
    rows = record["mistakes"]
    lines = [f"{names[row['predicted']]}  {row['probability']:.0%}\nis {names[row['label']]}" for row in rows]
    return _sheet(rows, images, lines, fonts, title)


def of_labels(record: Record, images: np.ndarray, title: str) -> bytes:
    """Return the bytes of a PNG file for a net that finds labels: the label on which it is most wrong."""
    names, fonts = labels_of(record["classes"])
    rows = record["mistakes"]
    kinds = ["has" if row["has_label"] else "is not" for row in rows]
    texts = zip(rows, kinds, strict=True)
    lines = [
        f"{names[row['label']]}  {row['probability']:.0%}\n{kind} {names[row['label']]}"
        for row, kind in texts
    ]
    return _sheet(rows, images, lines, fonts, title)


def of_targets(record: Record, images: np.ndarray, title: str) -> bytes:
    """Return the bytes of a PNG file for a net that predicts numbers: the worst one of each image."""
    names, fonts = labels_of(record["targets"])
    rows = record["mistakes"]
    lines = [f"{names[row['output']]}  {row['prediction']:.4g}\nis {row['target']:.4g}" for row in rows]
    return _sheet(rows, images, lines, fonts, title)


def _sheet(rows: list[Record], images: np.ndarray, lines: list[str], fonts: list[str], title: str) -> bytes:
    """Return the bytes of a PNG file; lines: what stands above each image."""
    texts = [(line, f"no. {row['sample']}") for line, row in zip(lines, rows, strict=True)]
    worst = " worst" if len(rows) == MOST else ""
    found = f"the {len(rows)}{worst} {plural(len(rows), 'mistake')}" if rows else "no mistake"
    return draw(images, texts, fonts, f"{found} on {title}")


def draw(images: np.ndarray, texts: Sequence[tuple[str, str]], fonts: list[str], title: str) -> bytes:
    """Return the bytes of a PNG file.

    images: [n, c, h, w].
    texts: the lines above and below each image.
    fonts: for the lines above.
    """
    from matplotlib.figure import Figure

    height, width = _size(*images.shape[2:])
    across, down = width + GAP, height + ABOVE + BELOW + GAP
    size = ACROSS * across + GAP, max(-(-len(images) // ACROSS), 1) * down + TITLE
    figure = Figure(figsize=size, dpi=130)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, size[0]), ylim=(size[1], 0))
    axes.set_axis_off()
    axes.text(size[0] / 2, TITLE / 2, title, fontsize=10, ha="center", va="center", parse_math=False)
    limits = pixels.limits_of(images)
    for k, (image, lines) in enumerate(zip(images, texts, strict=True)):
        left, top = GAP + k % ACROSS * across, TITLE + k // ACROSS * down + ABOVE
        shown = pixels.shown(image, *limits)
        place = left, left + width, top + height, top
        axes.imshow(shown, cmap="gray", vmin=0, vmax=1, extent=place, aspect="auto")
        _name(axes, left + width / 2, (top, top + height), lines, fonts)
    axes.set(xlim=(0, size[0]), ylim=(size[1], 0))
    return png(figure)


def _size(height: int, width: int) -> tuple[float, float]:
    """Return height and width of an image in inches."""
    longer = max(height, width)
    return max(height / longer, SHORTEST) * SIDE, max(width / longer, SHORTEST) * SIDE


def _name(axes: Axes, x: float, edges: tuple[float, float], lines: tuple[str, str], fonts: list[str]) -> None:
    """Write lines above and below an image; x: its middle; edges: its upper and its lower one."""
    (top, bottom), (above, below) = edges, lines
    same: dict[str, Any] = {"ha": "center", "parse_math": False}
    axes.text(x, top - 0.03, above, fontsize=6.5, va="bottom", fontfamily=fonts, linespacing=1.1, **same)
    axes.text(x, bottom + 0.03, below, fontsize=5.5, va="top", color=GRAY, **same)
