"""mistakes.png: the worst mistakes as a contact sheet."""

from __future__ import annotations

from typing import Any

import numpy as np

from distcnn.data import contact_sheet
from distcnn.reports.figures import GRAY, labels_of, png

ACROSS = 6
WIDTH = 1.35  # inches of an image

Record = dict[str, Any]


def draw(record: Record, images: np.ndarray, title: str) -> bytes:
    """Return the bytes of a PNG file.

    record: as `Classification.record` returns it.
    images: of its mistakes, [n, c, h, w].
    """
    names, fonts = labels_of(record["classes"])
    rows = record["mistakes"]
    down = max(-(-len(rows) // ACROSS), 1)
    figure = contact_sheet.empty(ACROSS, down, images.shape[1:], 0.3 * down + 0.3, WIDTH)
    figure.suptitle(title, fontsize=10, parse_math=False)
    places = figure.subplots(down, ACROSS, squeeze=False)
    contact_sheet.draw(places, images, contact_sheet.limits_of(images) if len(images) else (0, 1))
    for axes, row in zip(places.flat, rows, strict=False):
        found = f"{names[row['predicted']]}  {row['probability']:.0%}"
        truth = f"is {names[row['label']]}"
        axes.set_title(f"{found}\n{truth}", fontsize=6.5, pad=2, parse_math=False, fontfamily=fonts)
        place = {"transform": axes.transAxes, "ha": "center", "va": "top"}
        axes.text(0.5, -0.02, f"no. {row['sample']}", fontsize=5.5, color=GRAY, **place)
    return png(figure)
