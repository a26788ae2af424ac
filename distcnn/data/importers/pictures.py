"""Image files decoded by Pillow. Decoders differ in last bits of JPEG: a dataset's fingerprint tells them apart."""

import io
import warnings

import numpy as np

from distcnn.errors import DataError

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm")
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
GREY = ("1", "L", "LA", "La")
DEEP = ("I", "F")  # more than a byte a channel; of I;16, the first letter
BILINEAR = 2  # Pillow's number; shrinking, it takes the mean over all pixels
PIXELS = 2**26  # at most: 8192 x 8192


def looked_at(name: str, content: bytes) -> tuple[int, int, bool]:
    """Return height, width and whether an image is grey, by its header."""
    with _opened(name, content) as image:
        return image.height, image.width, image.mode in GREY


def decoded(name: str, content: bytes, channels: int, size: tuple[int, int]) -> np.ndarray:
    """Return an image as uint8 [channels, h, w], 1 for grey or 3, resized to (h, w) if it has another size."""
    with _opened(name, content) as image:
        try:
            image = image.convert("L" if channels == 1 else "RGB")
        except Exception as error:  # Pillow's decoders raise about anything
            raise _damaged(name, error) from None
        if (image.height, image.width) != size:
            image = image.resize(size[::-1], resample=BILINEAR)
        pixels = np.asarray(image)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def decoder() -> str:
    """Return what decodes, in words."""
    from PIL import __version__, features

    return f"Pillow {__version__}, libjpeg {features.version('jpg')}"


def _opened(name, content):
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images: they are refused below
            image = Image.open(io.BytesIO(content), formats=FORMATS)
    except Exception as error:
        raise _damaged(name, error) from None
    if image.width * image.height > PIXELS:
        size = f"{image.height} x {image.width}"
        raise DataError(f"{name} has {size} pixels; wanted at most {PIXELS:,}: make it smaller")
    if image.mode.startswith(DEEP):
        raise DataError(f"{name} has pixels of type {image.mode}; wanted 8 bits a channel: convert it")
    return image


def _damaged(name, error):
    reason = " ".join(str(error).split())[:100]
    return DataError(
        f"{name} is no image that can be read, or damaged ({reason}): take it out or copy it again"
    )
