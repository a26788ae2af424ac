"""Decode image files by Pillow.

Decoders of JPEG differ in the last bits of pixels, so the fingerprint of a dataset can depend on the decoder's version.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from distcnn.data.importers.picture_size import resized

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm")
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
GRAY = ("1", "L", "LA", "La", "I", "F")  # and those that begin with "I;16"
ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
ORIENTATION = 274  # the EXIF tag that says how the camera was held
SIDEWAYS = (5, 6, 7, 8)  # its values that exchange height and width
PIXELS = 2**26  # the largest number of pixels of an image, 8192 x 8192
TYPES = ("uint8", "float")  # of pixels, as Format says
WHOLE = {"8": 255, "16": 65535}  # the largest value, by depth

TURNED, ALPHA_DROPPED, PAGES_DROPPED, RESIZED = "turned", "alpha", "pages", "resized"  # remarks


class Unusable(Exception):
    """A picture that cannot be used.

    found: what is wrong, and what is wanted
    remedy: what to do about it
    is_damage: whether it is damaged, rather than of a kind that is not accepted
    """

    def __init__(self, found: str, remedy: str, is_damage: bool = False) -> None:
        super().__init__(found, remedy, is_damage)
        self.found, self.remedy, self.is_damage = found, remedy, is_damage


@dataclass(frozen=True)
class Format:
    """What pictures are to become.

    size: (h, w), or None to keep each picture's size
    fit: how a picture gets that size, one of `picture_size.FITS`
    channels: 1 for gray, 3 for color, or None to keep what each picture has
    pixels: "uint8", "float" for float32 from 0 to 1, or None to keep the depth of each picture
    """

    size: tuple[int, int] | None = None
    fit: str = "stretch"
    channels: int | None = None
    pixels: str | None = None


@dataclass(frozen=True)
class Header:
    """What a picture is, by its header: height and width as it is seen, upright; depth: "8", "16" or "float"."""

    height: int
    width: int
    is_gray: bool
    depth: str


class Picture(NamedTuple):
    """A decoded picture.

    pixels: [c, h, w]; uint8, or float32
    depth: of the file, "8", "16" or "float"
    remarks: what was done to it or left out, TURNED and so on
    """

    pixels: np.ndarray
    depth: str
    remarks: tuple[str, ...]


def inspect(content: bytes) -> Header:
    """Return what a picture is, from its header; raise Unusable if it cannot be used."""
    with _open(content) as image:
        turned = (
            _orientation(image) in SIDEWAYS and image.format != "TIFF"
        )  # whose size Pillow gives as it is seen
        height, width = (image.width, image.height) if turned else (image.height, image.width)
        return Header(height, width, _is_gray(image), _depth(image))


def decode(content: bytes, wanted: Format) -> Picture:
    """Return the picture in a file's content, upright; raise Unusable if it cannot be used."""
    with _open(content) as image:
        depth, is_gray = _depth(image), _is_gray(image)
        _require_depth(image, depth, wanted)
        gray = is_gray if wanted.channels is None else wanted.channels == 1
        try:
            orientation = _orientation(image)
            remarks = tuple(_remarks(image, orientation))
            image = _converted(_upright(image, orientation), depth, gray)
            if wanted.size and (image.height, image.width) != wanted.size:
                remarks += (RESIZED,)
                image = resized(image, wanted.size, wanted.fit)
            pixels = _scaled(_array(image), depth, wanted)
        except Exception as error:  # Pillow's decoders raise exceptions of any kind
            raise _unreadable(error) from None
    if depth == "float" and not np.isfinite(pixels).all():
        raise Unusable("has a pixel that is not a finite number", "repair or remove it", is_damage=True)
    if pixels.ndim == 3:
        pixels = pixels.transpose(2, 0, 1)
    elif gray:
        pixels = pixels[None]
    else:
        pixels = np.broadcast_to(pixels, (3, *pixels.shape))
    return Picture(np.ascontiguousarray(pixels), depth, remarks)


def decoder() -> str:
    """Return the name and the version of the decoder."""
    from PIL import __version__, features

    return f"Pillow {__version__}, libjpeg {features.version('jpg')}"


# ---- one picture ----


def _open(content: bytes) -> Image:
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except Exception as error:
        raise _unreadable(error) from None
    if image.width * image.height > PIXELS:
        size = f"{image.height} x {image.width}"
        raise Unusable(f"has {size} pixels; wanted at most {PIXELS:,}", "make it smaller")
    return image


def _is_gray(image: Image) -> bool:
    return image.mode in GRAY or image.mode.startswith("I;16")


def _depth(image: Image) -> str:
    """Return how many bits a channel has, or "float"; 32-bit integers count as that."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return "16"
    if image.mode in ("I", "F"):
        return "float"
    return "16" if any(_is_deep(args) for *_, args in getattr(image, "tile", ())) else "8"


def _is_deep(args: object) -> bool:
    """Return whether Pillow is about to read channels of 16 bits into 8; args: of its decoder."""
    several = args if isinstance(args, tuple) else (args,)
    return any((isinstance(arg, str) and ";16" in arg) or arg == WHOLE["16"] for arg in several)


def _require_depth(image: Image, depth: str, wanted: Format) -> None:
    """Raise Unusable if the values of a picture would be cut off."""
    if depth == "float" and wanted.pixels == "uint8":
        raise Unusable(
            f"has pixels of type {image.mode}, which --pixels uint8 does not scale", "use --pixels float"
        )
    if depth == "16" and not _is_gray(image) and wanted.pixels != "uint8":
        raise Unusable(
            "has 16 bits per channel in color, which the decoder cannot give; wanted 8 bits per channel",
            "keep the upper 8 bits with --pixels uint8",
        )


def _orientation(image: Image) -> int:
    """Return the EXIF orientation of a picture, from 1, which is upright, to 8."""
    if image.format == "JPEG" and not {"exif", "xmp"} & image.info.keys():
        return 1  # looking for it takes as long as opening the file
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged EXIF data do not keep a picture from being shown
        return 1


def _upright(image: Image, orientation: int) -> Image:
    """Return a picture as it is to be seen; Pillow turns TIFF files itself."""
    from PIL import ImageOps

    image.load()
    return image if image.format == "TIFF" or orientation == 1 else ImageOps.exif_transpose(image)


def _remarks(image: Image, orientation: int) -> list[str]:
    """Return what is about to be done to a picture, or to be left out."""
    found = [TURNED] if orientation in range(2, 9) else []
    if image.mode in ALPHA or "transparency" in image.info:
        found.append(ALPHA_DROPPED)
    if getattr(image, "is_animated", False):
        found.append(PAGES_DROPPED)
    return found


def _converted(image: Image, depth: str, gray: bool) -> Image:
    """Return a picture in Pillow's mode L, RGB or, for gray of more than 8 bits, F."""
    if depth == "8" or not _is_gray(image):
        mode = "L" if gray else "RGB"
        return image if image.mode == mode else image.convert(mode)  # which would make a copy
    return (image.convert("I") if depth == "16" else image).convert("F")


def _array(image: Image) -> np.ndarray:
    """Return the pixels of a picture in mode L, RGB or F, [h, w] or [h, w, 3]."""
    if image.mode == "F":
        return np.asarray(image)
    # A third faster than np.asarray, which calls the same.
    shape = (image.height, image.width, 3)[: 3 if image.mode == "RGB" else 2]
    return np.frombuffer(image.tobytes(), np.uint8).reshape(shape)


def _scaled(pixels: np.ndarray, depth: str, wanted: Format) -> np.ndarray:
    """Return pixels as uint8 or as float32."""
    if pixels.dtype == np.uint8:
        return pixels if wanted.pixels != "float" else pixels.astype(np.float32) / np.float32(WHOLE["8"])
    if depth == "16" and wanted.pixels == "uint8":
        return np.rint(pixels / np.float32(257)).astype(np.uint8)
    return pixels / np.float32(WHOLE["16"]) if depth == "16" else pixels


def _unreadable(error: Exception) -> Unusable:
    reason = " ".join(re.sub("<.*?>", "", str(error)).split())[:100]  # without the address of a BytesIO
    remedy = "remove it, copy it again, or leave such images out with --skip-damaged"
    return Unusable(f"cannot be read as an image ({reason})", remedy, is_damage=True)
