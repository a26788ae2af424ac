"""calibration.png: a reliability diagram (Guo et al. 2017, figure 1), and how many predictions each bin has."""

from __future__ import annotations

from typing import Any

from distcnn.reports.calibration import BINS
from distcnn.reports.figures import GRAY, RIGHT, WRONG, plain, png

Record = dict[str, Any]


def of_classes(record: Record, title: str) -> bytes:
    """Return the bytes of a PNG file for predicted classes; record: with `calibration` and `calibration_error`."""
    return _draw(
        record, title, ("probability of the predicted class", "fraction that is right", "predictions")
    )


def of_labels(record: Record, title: str) -> bytes:
    """Return the bytes of a PNG file for all labels of all images."""
    return _draw(record, title, ("probability of a label", "fraction that has it", "images and labels"))


def _draw(record: Record, title: str, words: tuple[str, str, str]) -> bytes:
    """Return the bytes of a PNG file; words: for the axes, to the right, and up in both diagrams."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 5.6), dpi=130, layout="constrained")
    figure.suptitle(title, fontsize=10, parse_math=False)
    diagram, histogram = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    bins, error = record["calibration"], record["calibration_error"]
    centers = [(k + 0.5) / BINS for k in range(BINS)]
    filled = [k for k in range(BINS) if bins["samples"][k]]
    diagram.plot((0, 1), (0, 1), color=GRAY, linestyle="--", linewidth=1, label="perfectly calibrated")
    right = [bins["accuracy"][k] for k in filled]
    diagram.bar([centers[k] for k in filled], right, width=0.9 / BINS, color=RIGHT, label=words[1])
    at = [bins["probability"][k] for k in filled]
    for x, low, high in zip(at, right, at, strict=True):
        diagram.plot((x, x), (low, high), color=WRONG, linewidth=2, solid_capstyle="butt")
    diagram.plot(at, at, "_", color=WRONG, markersize=9, markeredgewidth=2, label="mean probability")
    if error is not None:
        text = f"expected calibration error {error:.2%}"
        diagram.set_title(text, fontsize=9)
    diagram.set_ylabel(words[1])
    diagram.set_xlim(0, 1)
    diagram.set_ylim(0, 1.02)
    figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=3)
    plain(diagram)
    histogram.bar(centers, bins["samples"], width=0.9 / BINS, color=GRAY)
    histogram.set_xlabel(words[0])
    histogram.set_ylabel(words[2])
    histogram.set_yscale("symlog", linthresh=1)
    plain(histogram)
    return png(figure)
