"""The axes of images as they lie in a file: their notation, how they become (n, c, h, w), and which they are.

    NCHW, NHWC, NHW, HWCN, ...    a letter an axis: samples, channels, height, width; without C there is one channel
    NHW:64x64, NCHW:3x32x32       images that are flattened into one axis, with the sizes of the axes after N

Where a shape leaves open which axis is which, `find_axes` asks instead of guessing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isqrt, prod

import numpy as np

from distcnn.config import axes_spec
from distcnn.config.types import Layout
from distcnn.errors import DataError

CHANNELS = (1, 3, 4)  # the sizes of an axis by which it is known to be channels
LARGE = 5  # the least size of an axis that is taken for height or width

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Axes:
    """The axes of an array of images.

    letters: of the axes in their order: N, C, H, W; without C the images have one channel.
    sizes: of the axes after N if each sample is flattened into one axis, else ().
    """

    letters: str
    sizes: Shape = ()

    def __str__(self) -> str:
        return self.letters + (":" + "x".join(map(str, self.sizes)) if self.sizes else "")

    @property
    def sample(self) -> int:
        """The number of the axis that counts samples."""
        return self.letters.index("N")

    def nchw(self, shape: Shape) -> tuple[int, int, int, int]:
        """Return the shape (n, c, h, w) of images that are stored with this shape; raise ValueError if it differs."""
        whole = (*shape[:1], *self.sizes) if self.sizes else shape
        fits = len(whole) == len(self.letters) and (not self.sizes or prod(shape[1:]) == prod(self.sizes))
        if not fits:
            raise ValueError(shape)
        size = dict(zip(self.letters, whole, strict=True))
        return size["N"], size.get("C", 1), size["H"], size["W"]

    def turned(self, stored: np.ndarray) -> np.ndarray:
        """Return stored images as a view [n, c, h, w]."""
        whole = stored.reshape(len(stored), *self.sizes) if self.sizes else stored
        found = whole.transpose([self.letters.index(letter) for letter in "NCHW" if letter in self.letters])
        return found if "C" in self.letters else found[:, None]


def parse_axes(text: str) -> Axes:
    """Return the Axes that a text describes; raise ValueError if it is not valid."""
    found = axes_spec.read(text)
    if found is None:
        raise ValueError(f"{text[:50]!r} is not valid; wanted {Layout.wanted}")
    return Axes(*found)


def given_axes(name: str, shape: Shape, axes: Axes) -> Axes:
    """Return the axes that the user names; raise DataError if images of this shape cannot have them."""
    try:
        axes.nchw(shape)
    except ValueError:
        raise DataError(
            f"{name} has shape {shape}, which --layout {axes} does not fit: {_wanted(shape)}"
        ) from None
    return axes


def _wanted(shape: Shape) -> str:
    """Return a phrase on the layouts that a shape may have."""
    if len(shape) == 2:
        return _flattened(shape[1])
    return f"wanted a letter for each of {len(shape)} axes" if len(shape) in (3, 4) else "wanted 3 or 4 axes"


def find_axes(
    name: str, shape: Shape, n: int | None = None, own: bool = False, like: Shape | None = None
) -> Axes:
    """Return the axes of images of a shape.

    name: of the array, for messages.
    n: the number of labels, if known.
    own: whether the file has distcnn's own layout, in which channels come first.
    like: the shape (c, h, w) that the images should have, if known.

    Raises DataError, with the options to type, where the shape leaves the axes open.
    """
    if len(shape) not in (3, 4):
        raise DataError(_no_images(name, shape))
    if not own and n not in (None, shape[0]) and shape[-1] == n:
        letters = ("HWN", "WHN") if len(shape) == 3 else ("HWCN", "WHCN", "CHWN")
        raise DataError(_question(name, shape, letters, f"the last axis counts the {n} samples, but"))
    if len(shape) == 4 and n == shape[1] != shape[0] and (shape[0] == 1 or not own):
        letters = ("CNHW", "HNWC", "HNCW")
        raise DataError(_question(name, shape, letters, f"the second axis counts the {n} samples, but"))
    if len(shape) == 3:
        return Axes("NHW")
    fits = [each for each in ("NCHW", "NHWC") if like and Axes(each).nchw(shape)[1:] == tuple(like)]
    found = fits[0] if len(fits) == 1 else (_of_own if own else _of_others)(*shape[1:])
    if found is None:
        volumes = min(shape[1:]) >= LARGE
        more = "; volumes cannot be trained, as there is no third dimension" if volumes else ""
        raise DataError(_question(name, shape, ("NHWC", "NCHW")) + more)
    return Axes(found)


def _of_others(a: int, b: int, c: int) -> str | None:
    """Return the layout of images (n, a, b, c) if exactly one end is channels, else None."""
    first, last = a in CHANNELS and min(b, c) >= LARGE, c in CHANNELS and min(a, b) >= LARGE
    return ("NCHW" if first else "NHWC") if first != last else None


def _of_own(a: int, b: int, c: int) -> str | None:
    """Return the layout of images (n, a, b, c) in a file that should have channels first, None if that is in doubt."""
    if a in CHANNELS:
        return None if c in CHANNELS and a == b > 1 else "NCHW"
    if c in CHANNELS and min(a, b) >= LARGE:
        return "NHWC"
    return "NCHW" if b == c != a or a < min(b, c) else None


def _question(name: str, shape: Shape, layouts: Sequence[str], where: str = "") -> str:
    """Return the question which of several layouts images have; each is shown with what it means."""
    meanings = (f"--layout {each} ({_meaning(Axes(each), shape)})" for each in layouts)
    which = "which axes are rows and columns" if where else "which axis holds the channels"
    return f"{name} has shape {shape}; {where}{' ' * bool(where)}{which} is open: say {' or '.join(meanings)}"


def _meaning(axes: Axes, shape: Shape) -> str:
    _, c, h, w = axes.nchw(shape)
    return f"{c} channel{'s' * (c != 1)} of {h} x {w}"


def _no_images(name: str, shape: Shape) -> str:
    """Return the message for an array that has neither three nor four axes."""
    if len(shape) == 2:
        found = f"{name} has shape {shape}; wanted (n, c, h, w) or (n, h, w)"
        return f"{found}: {_flattened(shape[1])}"
    if len(shape) > 4:
        few = tuple(size for size in shape if size != 1)
        if len(few) == 3 or (len(few) == 4 and _of_others(*few[1:])):
            found = f"{name} has shape {shape}; wanted (n, c, h, w) or (n, h, w)"
            return f"{found}: store it without axes of one element, images.reshape{few} in NumPy"
        found = f"{name} has shape {shape}, volumes or sequences of images"
        return f"{found}; wanted (n, c, h, w) or (n, h, w): distcnn has no third dimension"
    return f"{name} has shape {shape}; wanted (n, c, h, w) or (n, h, w): these are no images"


def _flattened(length: int) -> str:
    """Return a phrase on what rows of so many numbers can be, with the options to type."""
    options = [f"--layout {each}" for each in _foldings(length)]
    side = round(length ** (1 / 3))
    cube = f"; volumes of {side} x {side} x {side} cannot be trained" if side**3 == length > 1 else ""
    if options:
        return f"if these are images, say {' or '.join(options)}{cube}"
    return f"say --layout NHW:HxW with the height and width of {length} pixels{cube}"


def _foldings(length: int) -> Iterator[str]:
    """Yield the layouts of square images of so many numbers, gray and in color."""
    for channels in CHANNELS:
        side = isqrt(length // channels)
        if side > 1 and side * side * channels == length:
            if channels == 1:
                yield f"NHW:{side}x{side}"
            else:
                yield f"NHWC:{side}x{side}x{channels}"
                yield f"NCHW:{channels}x{side}x{side}"
