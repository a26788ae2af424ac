"""Bring a picture to a fixed size, in one of three ways."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

FITS = ("stretch", "crop", "pad")
BILINEAR = 2  # Pillow's number; if an image shrinks, each pixel is a mean over all pixels that it covers


def resized(image: Image, size: tuple[int, int], fit: str) -> Image:
    """Return a picture of another size.

    size: (h, w)
    fit: "stretch" changes proportions; "crop" keeps them and cuts off what is over, the same on both sides; "pad" keeps
        them and surrounds the picture with black
    """
    height, width = size
    if (image.height, image.width) == size:
        return image
    if fit == "crop":
        return image.resize((width, height), BILINEAR, box=_middle(image, height, width))
    if fit == "pad":
        return _padded(image, height, width)
    return image.resize((width, height), BILINEAR)


def _middle(image: Image, height: int, width: int) -> tuple[float, float, float, float]:
    """Return the largest box of these proportions in the middle of a picture: left, upper, right, lower."""
    scale = min(image.width / width, image.height / height)
    x, y = (image.width - scale * width) / 2, (image.height - scale * height) / 2
    return max(x, 0.0), max(y, 0.0), min(image.width - x, image.width), min(image.height - y, image.height)


def _padded(image: Image, height: int, width: int) -> Image:
    """Return a picture of this size with the whole picture in its middle."""
    scale = min(width / image.width, height / image.height)
    inner = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    from PIL.Image import new

    whole = new(image.mode, (width, height))
    whole.paste(image.resize(inner, BILINEAR), ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return whole
