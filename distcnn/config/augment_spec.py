"""What --augment asks for, as "shift=2,flip,elastic=34:4": read, checked, and written in one order."""

import difflib
import math
from dataclasses import dataclass

NONE = "none"
FORMS = "shift=PIXELS, crop=PIXELS, flip, rotate=DEGREES, scale=PART, shear=PART, elastic=ALPHA:SIGMA, "
FORMS += "brightness=PART, cutout=PIXELS"
MOST = {  # of each number; for PARTs and degrees the greatest that leave an image recognisable as one
    "shift": (4096,),
    "flip": (),
    "rotate": (180.0,),
    "scale": (0.9,),
    "shear": (2.0,),
    "elastic": (1000.0, 64.0),
    "brightness": (1.0,),
    "cutout": (4096,),
}
SAME = {"crop": "shift"}  # a border of zeros and a crop at random is a shift at random


@dataclass(frozen=True)
class Augment:
    """How far training images are distorted at most; 0: not at all.

    shift, cutout: whole pixels; flip: 1 if half of the images are mirrored; rotate: degrees; scale, shear, brightness:
    parts of 1; elastic: alpha and sigma, in pixels, of Simard et al. 2003.
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
    def interpolates(self):
        """Whether pixels come from between pixels."""
        return any((self.rotate, self.scale, self.shear, self.elastic[0]))


def read(text):
    """Return the Augment that a text asks for. Raises ValueError, whose text is for the user."""
    found = {}
    for word in text.split(",") if text != NONE else ():
        name, _, value = word.strip().partition("=")
        if name not in MOST and name not in SAME:
            near = difflib.get_close_matches(name, [*MOST, *SAME], n=1)
            hint = f"did you mean {near[0]}?" if near else f"wanted some of {FORMS}, or {NONE}"
            raise ValueError(f"unknown augmentation {name[:50]!r}; {hint}")
        numbers = _numbers(name, value)
        name = SAME.get(name, name)
        if name in found:
            both = "shift and crop are the same: " if name == "shift" else f"{name} is there twice: "
            raise ValueError(f"{both}name it once")
        found[name] = numbers
    settings = {name: numbers if len(numbers) > 1 else numbers[0] for name, numbers in found.items()}
    return Augment(**settings)


def written(augment):
    """Return the text that asks for an Augment, always the same one."""
    words = []
    for name in MOST:
        value = getattr(augment, name)
        numbers = value if isinstance(value, tuple) else (value,)
        if numbers[0]:
            words.append(name if name == "flip" else f"{name}={':'.join(map(_spelt, numbers))}")
    return ",".join(words) or NONE


def _spelt(number):
    return str(int(number)) if number == int(number) else repr(number)


def _numbers(name, text):
    """Return the numbers behind a name, all above 0."""
    most = MOST[SAME.get(name, name)]
    words = text.split(":") if text else []
    try:
        numbers = [kind(word) for kind, word in zip(map(type, most), words, strict=True)]
        fine = all(0 < number <= limit for number, limit in zip(numbers, most, strict=True))
    except ValueError:  # not as many, or no numbers
        fine = False
    if not fine:
        limits = " and, behind a colon, ".join(
            f"a {'whole ' * isinstance(limit, int)}number up to {_spelt(limit)}" for limit in most
        )
        wanted = f"{name}=, above 0: {limits}" if most else f"{name} alone"
        raise ValueError(f"{name}{'=' * bool(text)}{text[:50]} is not possible; wanted {wanted}")
    return tuple(numbers) if most else (1,)


def refusal(augment, shape):
    """Return what is senseless about an Augment for images of shape (c, h, w), or None."""
    least = min(shape[1:])
    for name in ("shift", "cutout"):
        if getattr(augment, name) >= least:
            size = " x ".join(map(str, shape[1:]))
            return f"{name}={getattr(augment, name)} would leave nothing of images of {size}; wanted less than {least}"
    return None


def radians(degrees):
    """Return the angle in radians."""
    return degrees * (math.pi / 180.0)
