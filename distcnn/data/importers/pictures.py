"""Decode image files by Pillow.

Decoders of JPEG differ in the last bits of pixels, so the fingerprint of a dataset can depend on the decoder's version.
"""

from __future__ import annotations

import io
import re
import warnings
from typing import TYPE_CHECKING

import numpy as np

from distcnn.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm")
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
GRAY = ("1", "L", "LA", "La")
DEEP = ("I", "F")  # beginnings of modes with more than 8 bits per channel, such as I;16
BILINEAR = 2  # Pillow's number; if an image shrinks, each pixel is a mean over all pixels that it covers
PIXELS = 2**26  # the largest number of pixels of an image, 8192 x 8192


def inspect(name: str, content: bytes) -> tuple[int, int, bool]:
    """Return the height and the width of an image, and whether it is gray, from its header; name: for messages."""
    with _open(name, content) as image:
        return image.height, image.width, image.mode in GRAY


def decode(name: str, content: bytes, channels: int, size: tuple[int, int]) -> np.ndarray:
    """Return an image as uint8 [channels, h, w].

    name: the name of the file, for messages.
    content: the content of the file.
    channels: 1 for gray, or 3 for color.
    size: (h, w); an image of another size is resized.
    """
    with _open(name, content) as image:
        try:
            image = image.convert("L" if channels == 1 else "RGB")
        except Exception as error:  # Pillow's decoders raise exceptions of any kind
            raise _unreadable(name, error) from None
        if (image.height, image.width) != size:
            image = image.resize(size[::-1], resample=BILINEAR)
        pixels = np.asarray(image)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def decoder() -> str:
    """Return the name and the version of the decoder."""
    from PIL import __version__, features

    return f"Pillow {__version__}, libjpeg {features.version('jpg')}"


def _open(name: str, content: bytes) -> Image:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large images; they are rejected below
            image = Image.open(io.BytesIO(content), formats=FORMATS)
    except Exception as error:
        raise _unreadable(name, error) from None
    if image.width * image.height > PIXELS:
        size = f"{image.height} x {image.width}"
        raise DataError(f"{name} has {size} pixels; wanted at most {PIXELS:,}: make it smaller")
    if image.mode.startswith(DEEP):
        raise DataError(f"{name} has pixels of type {image.mode}; wanted 8 bits per channel: convert it")
    return image


def _unreadable(name: str, error: Exception) -> DataError:
    reason = " ".join(re.sub("<.*?>", "", str(error)).split())[:100]  # without the address of a BytesIO
    return DataError(f"{name} cannot be read as an image ({reason}): remove it or copy it again")
