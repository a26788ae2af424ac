"""A picture of a network: a box for each layer with the shape of its output, and an arc for each skip connection."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from distcnn.layers.base import Layer
from distcnn.layers.declarations import Shape
from distcnn.network.shapes import infer_shapes
from distcnn.system.terminal_text import printable

COLUMN = 40  # layers in a column of the picture
WIDTH, HEIGHT = 4.6, 0.32  # inches of a column and of a layer in it
SKIP = "#b3541e"  # the color of skip connections
CHARACTERS = 46  # of a layer's text in a box
KINDS = (  # the color of a box by the beginning of the layer's name; the first that matches
    (("Conv", "TableConv", "Locally"), "#cfe3f5"),
    (("Dense", "Radial"), "#f9dcc4"),
    (("MaxPool", "MeanPool", "Gaussian", "Trainable", "GlobalMean"), "#d6efd0"),
    (("BatchNorm", "Dropout"), "#ece2f4"),
    (("",), "#f4f4f4"),
)


def draw(layers: Sequence[Layer], input_shape: Shape, title: str) -> bytes:
    """Return the bytes of a PNG of a network.

    layers: its layers.
    input_shape: (c, h, w) of an image.
    title: a line above the picture.

    Raises NetError if the layers do not fit together.
    """
    from matplotlib.figure import Figure

    shapes, _, _ = infer_shapes(layers, input_shape)
    columns = -(-(len(layers) + 1) // COLUMN)
    rows = min(len(layers) + 1, COLUMN)
    figure = Figure(figsize=(columns * WIDTH, (rows + 1.5) * HEIGHT), dpi=110)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, columns * WIDTH), ylim=((rows + 0.5) * HEIGHT, -HEIGHT))
    axes.set_axis_off()
    axes.text(0.2, -0.4 * HEIGHT, printable(title), fontsize=9, weight="bold", va="center", parse_math=False)
    texts = ["input", *(_text(number, layer) for number, layer in enumerate(layers))]
    for place, (text, shape) in enumerate(zip(texts, shapes, strict=True)):
        _box(axes, place, text, shape)
    saved: dict[str, int] = {}
    for place, layer in enumerate(layers, 1):
        if layer.reads in saved:
            _arc(axes, saved[layer.reads], place)
        if layer.saves_as:
            saved[layer.saves_as] = place
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return image.getvalue()


def _text(number: int, layer: Layer) -> str:
    """Return what stands in the box of a layer."""
    text = printable(f"{number} {layer}")
    return text if len(text) <= CHARACTERS else f"{text[: CHARACTERS - 3]}..."


def _corner(place: int) -> tuple[float, float]:
    """Return the left upper corner of the box at a place, in inches; place 0 is the input."""
    return place // COLUMN * WIDTH + 0.2, place % COLUMN * HEIGHT


def _box(axes, place: int, text: str, shape: Shape) -> None:  # type: ignore[no-untyped-def]
    """Draw a box with a text, and a shape to its right."""
    from matplotlib.patches import FancyBboxPatch

    x, y = _corner(place)
    name = text.partition(" ")[2]
    color = next(each for beginnings, each in KINDS if name.startswith(beginnings))
    box = FancyBboxPatch(
        (x, y), 2.7, HEIGHT * 0.8, "round,pad=0,rounding_size=0.05", fc=color, ec="#777777", lw=0.6
    )
    axes.add_patch(box)
    axes.text(x + 0.08, y + HEIGHT * 0.4, text, fontsize=7, va="center", parse_math=False)
    axes.text(
        x + 2.8, y + HEIGHT * 0.4, " x ".join(map(str, shape)), fontsize=7, va="center", color="#555555"
    )


def _arc(axes, start: int, stop: int) -> None:  # type: ignore[no-untyped-def]
    """Draw a skip connection between two places: an arc, or, between columns, the numbers of both layers."""
    from matplotlib.patches import FancyArrowPatch

    ends = [(x + 3.75, y + HEIGHT * 0.4) for x, y in map(_corner, (start, stop))]
    if start // COLUMN == stop // COLUMN:
        look: dict[str, Any] = {"connectionstyle": "arc3,rad=-0.5", "arrowstyle": "->", "mutation_scale": 7}
        axes.add_patch(FancyArrowPatch(*ends, lw=0.8, ec=SKIP, **look))
        return
    for end, text in zip(ends, (f"to {stop - 1}", f"from {start - 1}"), strict=True):
        axes.text(*end, text, fontsize=7, va="center", color=SKIP)
