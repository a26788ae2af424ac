"""The value of --augment, such as "shift=2,flip,elastic=34:4": reading it, checking it, and writing it in one order."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass

NONE = "none"
FORMS = "shift=PIXELS, crop=PIXELS, flip, rotate=DEGREES, scale=FRACTION, shear=FRACTION, "
FORMS += "elastic=ALPHA:SIGMA, brightness=FRACTION, cutout=PIXELS"
# The largest value of each number; those of FRACTION and DEGREES leave an image recognizable.
LARGEST: dict[str, tuple[float, ...]] = {
    "shift": (4096,),
    "flip": (),
    "rotate": (180.0,),
    "scale": (0.9,),
    "shear": (2.0,),
    "elastic": (1000.0, 64.0),
    "brightness": (1.0,),
    "cutout": (4096,),
}
SAME = {"crop": "shift"}  # a random crop of an image with a border of zeros is a random shift


@dataclass(frozen=True)
class Augment:
    """The random distortions of training images, each by the largest value; 0: no such distortion.

    shift: in whole pixels.
    flip: 1 if half of the images are mirrored.
    rotate: in degrees.
    scale: a relative change of the size.
    shear: a fraction.
    elastic: alpha and sigma of Simard et al. 2003, in pixels.
    brightness: a relative change of the values.
    cutout: the side of a square, in whole pixels.
    """

    shift: int = 0
    flip: int = 0
    rotate: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    elastic: tuple[float, float] = (0.0, 0.0)
    brightness: float = 0.0
    cutout: int = 0

    @property
    def interpolates(self) -> bool:
        """Whether some distortion needs values between pixels."""
        return any((self.rotate, self.scale, self.shear, self.elastic[0]))


def read(text: str) -> Augment:
    """Return the Augment that a text describes. Raises ValueError, with a message for the user, if it is not valid."""
    found: dict[str, tuple[float, ...]] = {}
    for word in text.split(",") if text != NONE else ():
        name, _, value = word.strip().partition("=")
        if name not in LARGEST and name not in SAME:
            near = difflib.get_close_matches(name, [*LARGEST, *SAME], n=1)
            hint = f"did you mean {near[0]}?" if near else f"wanted some of {FORMS}, or {NONE}"
            raise ValueError(f"unknown augmentation {name[:50]!r}; {hint}")
        numbers = _numbers(name, value)
        name = SAME.get(name, name)
        if name in found:
            both = "shift and crop are the same: " if name == "shift" else f"{name} is given twice: "
            raise ValueError(f"{both}name it once")
        found[name] = numbers
    settings: dict = {name: numbers if len(numbers) > 1 else numbers[0] for name, numbers in found.items()}
    return Augment(**settings)


def written(augment: Augment) -> str:
    """Return the text that describes an Augment; equal objects have the same text."""
    words = []
    for name in LARGEST:
        value = getattr(augment, name)
        numbers = value if isinstance(value, tuple) else (value,)
        if numbers[0]:
            words.append(name if name == "flip" else f"{name}={':'.join(map(_format, numbers))}")
    return ",".join(words) or NONE


def refusal(augment: Augment, shape: Sequence[int]) -> str | None:
    """Return a message if an Augment cannot be applied to images of shape (c, h, w), otherwise None."""
    least = min(shape[1:])
    for name in ("shift", "cutout"):
        if getattr(augment, name) >= least:
            size = " x ".join(map(str, shape[1:]))
            return f"{name}={getattr(augment, name)} would leave nothing of images of {size}; wanted less than {least}"
    return None


def radians(degrees: float) -> float:
    """Return an angle in radians."""
    return degrees * (math.pi / 180.0)


def _format(number: float) -> str:
    """Return a number as text, a whole number without a decimal point."""
    return str(int(number)) if number == int(number) else repr(number)


def _numbers(name: str, text: str) -> tuple[float, ...]:
    """Return the numbers after a distortion's name, all above 0. Raises ValueError if they are not valid."""
    largest = LARGEST[SAME.get(name, name)]
    words = text.split(":") if text else []
    try:
        numbers = [type(limit)(word) for limit, word in zip(largest, words, strict=True)]
        valid = all(0 < number <= limit for number, limit in zip(numbers, largest, strict=True))
    except ValueError:  # too few or too many, or no numbers
        valid = False
    if not valid:
        limits = " and, after a colon, ".join(map(_limit, largest))
        wanted = f"{name}=, above 0: {limits}" if largest else f"{name} without a value"
        raise ValueError(f"{name}{'=' * bool(text)}{text[:50]} is not valid; wanted {wanted}")
    return tuple(numbers) if largest else (1,)


def _limit(limit: float) -> str:
    """Return a phrase that describes a number with this largest value."""
    return f"a {'whole ' * isinstance(limit, int)}number up to {_format(limit)}"
