"""What all pictures of reports have in common."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from distcnn.system.fonts import fonts_for, shown
from distcnn.system.terminal_text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RIGHT, WRONG = "#1f6fb4", "#d9690f"  # blue and orange, which differ in any kind of color vision
GRAY = "#8a8a8a"
LONGEST = 18  # characters of the name of a class


def png(figure: Figure) -> bytes:
    """Return the bytes of a PNG file of a figure."""
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return image.getvalue()


def labels_of(classes: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the names of classes as pictures show them, and the fonts to draw them with."""
    names = [printable(name) for name in classes]
    names = [name if len(name) <= LONGEST else f"{name[: LONGEST - 3]}..." for name in names]
    fonts = fonts_for(names)
    return shown(names, fonts), fonts.families


def plain(axes: Axes) -> None:
    """Draw a light grid behind what the axes have, and no frame at the top and right."""
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
