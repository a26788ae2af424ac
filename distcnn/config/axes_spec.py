"""The value of --layout: the axes of images as they are stored, such as NHWC, or NHW:64x64 for flattened images."""

from __future__ import annotations

import re

PATTERN = re.compile(r"([NCHW]{3,4})(?::([1-9]\d{0,5}(?:x[1-9]\d{0,5})+))?", re.ASCII)


def read(text: str) -> tuple[str, tuple[int, ...]] | None:
    """Return the letters of the axes, and the sizes of those after N if images are flattened, else ().

    Returns None if the text is not valid.
    """
    match = PATTERN.fullmatch(text.upper().replace("X", "x"))
    letters, sizes = (match[1], match[2]) if match else ("", None)
    plain = tuple(map(int, sizes.split("x"))) if sizes else ()
    if sorted(letters) not in (sorted("NCHW"), sorted("NHW")):
        return None
    if plain and (letters[0] != "N" or len(plain) != len(letters) - 1):
        return None
    return letters, plain


def written(text: str) -> str | None:
    """Return the text in its usual form, or None if it is not valid."""
    found = read(text)
    return found and found[0] + (":" + "x".join(map(str, found[1])) if found[1] else "")
