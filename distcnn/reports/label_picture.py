"""labels.png: how well each label is found, those with the lowest average precision first."""

from __future__ import annotations

from typing import Any

from distcnn.reports.figures import GRAY, RIGHT, WRONG, labels_of, plain, png

MOST = 40  # labels that are shown
ROW = 0.24  # inches of a label

Record = dict[str, Any]


def draw(record: Record, title: str) -> bytes:
    """Return the bytes of a PNG file; record: as `Multilabel.record` returns it."""
    from matplotlib.figure import Figure

    names, fonts = labels_of(record["classes"])
    precision, f1 = record["average_precision"], record["f1"]
    found = [k for k in range(len(names)) if precision[k] is not None]
    worst = sorted(found, key=lambda k: (precision[k], k))[:MOST]
    figure = Figure(figsize=(5.6, ROW * max(len(worst), 4) + 1.4), dpi=130, layout="constrained")
    figure.suptitle(title, fontsize=10, parse_math=False)
    axes = figure.subplots()
    rows = range(len(worst))
    axes.barh(rows, [precision[k] for k in worst], color=RIGHT, height=0.62, label="average precision")
    axes.plot([f1[k] for k in worst], rows, "|", color=WRONG, markersize=9, markeredgewidth=2.2, label="F1")
    texts = [f"{names[k]}  ({record['support'][k]:,})" for k in worst]
    axes.set_yticks(rows, texts, fontsize=8, fontfamily=fonts, parse_math=False)
    axes.set_ylim(max(len(worst), 4) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    if len(found) > len(worst):
        axes.set_title(
            f"the {len(worst)} of {len(found)} labels that are found worst", fontsize=8, color=GRAY
        )
    plain(axes)
    axes.tick_params(axis="y", length=0)
    figure.legend(frameon=False, fontsize=8, loc="outside lower right", ncols=2)
    return png(figure)
