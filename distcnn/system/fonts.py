"""The installed fonts that have the characters of a text, for pictures with names in any script."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

PLACEHOLDERS = "LastResort"  # in the name of the file of a font with a box for every character
USUAL = "DejaVu Sans"  # Matplotlib brings it: Latin, Greek, Cyrillic, Arabic, Hebrew and many more


class Fonts(NamedTuple):
    """Fonts for a text.

    families: their names, in the order in which a character is looked up, as Matplotlib takes them.
    missing: the characters that no installed font has.
    """

    families: list[str]
    missing: frozenset[str]


def fonts_for(texts: Iterable[str]) -> Fonts:
    """Return the fonts for some texts: the usual one, and others only as far as it lacks characters."""
    from matplotlib.font_manager import fontManager

    wanted = {each for text in texts for each in text if unicodedata.category(each) not in ("Cf", "Zs")}
    real = [entry for entry in fontManager.ttflist if PLACEHOLDERS not in entry.fname]
    entries = sorted(real, key=lambda entry: (entry.name != USUAL, entry.style != "normal"))
    files = {entry.name: entry.fname for entry in reversed(entries)}  # the upright one of each family
    families = [USUAL]
    wanted -= _characters(files.get(USUAL))
    for name in sorted(files):
        if wanted and (found := wanted & _characters(files[name])):
            families.append(name)
            wanted -= found
    return Fonts(families, frozenset(wanted))


def shown(names: Sequence[str], fonts: Fonts) -> list[str]:
    """Return names to be shown; in place of one that no font has, its number."""
    return [f"#{k}" if fonts.missing & set(name) else name for k, name in enumerate(names)]


def _characters(path: str | None) -> set[str]:
    """Return the characters of a font; none if its file cannot be read."""
    if path is None:
        return set()
    from matplotlib.ft2font import FT2Font

    try:
        return set(map(chr, FT2Font(path).get_charmap()))
    except (OSError, RuntimeError):
        return set()
