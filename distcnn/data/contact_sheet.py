"""Small images side by side, each with a line above it: for pictures of data and of mistakes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 0.9  # inches of an image


def empty(across: int, down: int, shape: tuple[int, ...], more: float, width: float = WIDTH) -> Figure:
    """Return an empty figure.

    across, down: how many images it will have.
    shape: (c, h, w) of an image.
    more: inches for other text.
    width: inches of an image.
    """
    from matplotlib.figure import Figure

    size = across * width, down * width * shape[1] / shape[2] + down * 0.2 + more
    return Figure(figsize=size, dpi=130, layout="constrained")


def draw(places: np.ndarray, images: np.ndarray, limits: tuple[float, float]) -> None:
    """Draw images into places, which may be more.

    places: axes of Matplotlib.
    images: [n, c, h, w].
    limits: the values to be shown as black and as white.
    """
    for axes in places.flat:
        axes.set_axis_off()
    for axes, image in zip(places.flat, images, strict=False):
        axes.imshow(_pixels(image, *limits), cmap="gray", vmin=0, vmax=1)


def name(places: Iterable[Axes], texts: Iterable[str]) -> None:
    """Write texts above images."""
    for axes, text in zip(places, texts, strict=False):
        axes.set_title(text, fontsize=7, pad=2, parse_math=False)


def limits_of(images: np.ndarray) -> tuple[float, float]:
    """Return the pixel values to be shown as black and as white."""
    return (0, 255) if images.dtype == np.uint8 else (float(images.min()), float(images.max()))


def _pixels(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return an image [c, h, w] in the form for Matplotlib: values from 0 to 1, [h, w, 3] if c = 3, else channel 0."""
    scaled = np.clip((image - low) / max(high - low, 1e-30), 0, 1)
    return scaled.transpose(1, 2, 0) if len(image) == 3 else scaled[0]
