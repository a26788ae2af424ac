"""scatter.png: predictions over targets, with the line on which they would be equal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from distcnn.reports.figures import GRAY, RIGHT, labels_of, plain, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST, ACROSS = 9, 3  # targets that are shown, and how many of them in a row
SIDE = 3.4  # inches of a diagram

Record = dict[str, Any]


def draw(record: Record, title: str) -> bytes:
    """Return the bytes of a PNG file; record: as `Regression.record` returns it."""
    from matplotlib.figure import Figure

    names, fonts = labels_of(record["targets"])
    shown = min(len(names), MOST)
    across = min(shown, ACROSS)
    down = -(-shown // across)
    figure = Figure(
        figsize=(SIDE * across + 0.8 * (across == 1), SIDE * down + 0.4), dpi=130, layout="constrained"
    )
    more = f", {shown} of {len(names)} targets" if shown < len(names) else ""
    figure.suptitle(f"{title}{more}", fontsize=10, parse_math=False)
    targets, predictions = (np.array(record["scatter"][name]) for name in ("target", "prediction"))
    places = figure.subplots(down, across, squeeze=False).flat
    for k, axes in enumerate(places):
        if k >= shown:
            axes.set_axis_off()
            continue
        _diagram(axes, targets[:, k], predictions[:, k])
        found = {name: values[k] for name, values in record["by_target"].items()}
        r2 = "" if found["r2"] is None else f",  R² {found['r2']:.4f}"
        text = f"{names[k]}\nmean absolute error {found['mean_absolute_error']:.4g}{r2}"
        axes.set_title(text, fontsize=8, fontfamily=fonts, parse_math=False)
    return png(figure)


def _diagram(axes: Axes, targets: np.ndarray, predictions: np.ndarray) -> None:
    """Draw the points of a target; the axes have the same scale."""
    low, high = min(targets.min(), predictions.min()), max(targets.max(), predictions.max())
    room = 0.04 * (high - low) or 1.0
    limits = low - room, high + room
    axes.plot(limits, limits, color=GRAY, linestyle="--", linewidth=1)
    size, strength = (14, 0.6) if len(targets) <= 300 else (6, 0.35)
    axes.scatter(targets, predictions, s=size, color=RIGHT, alpha=strength, linewidths=0)
    axes.set(xlim=limits, ylim=limits, aspect="equal", xlabel="target", ylabel="prediction")
    axes.tick_params(labelsize=8)
    plain(axes)
