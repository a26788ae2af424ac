"""How image files became the images of a dataset, so that prediction treats other image files in the same way.

The import writes it into the attribute `pictures` of the dataset's file, and training into its checkpoints.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from distcnn.data.hdf5_file import DIGITS, open_hdf5
from distcnn.data.names import KEPT_ATTRIBUTES

ATTRIBUTE = KEPT_ATTRIBUTES[0]
CHOICES = {
    "fit": (None, "stretch", "crop", "pad"),
    "pixels": (None, "uint8", "float"),
    "depth": ("8", "16", "float"),
}


@dataclass(frozen=True)
class PictureRecord:
    """How image files became images.

    fit: how they got their size, or None if all had one
    pixels: the type that they were scaled to, or None if their depth was kept
    depth: of the files, "8", "16" or "float"; of the first if there were several
    """

    fit: str | None
    pixels: str | None
    depth: str

    def text(self) -> str:
        """Return the record as text."""
        return json.dumps(asdict(self))


def read_text(text: str) -> PictureRecord | None:
    """Return the record in a text, or None if it holds none, as that of another version."""
    try:
        found = json.loads(text)
        fields = {name: found[name] for name in CHOICES}
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if any(value not in CHOICES[name] for name, value in fields.items()):
        return None
    return PictureRecord(**fields)


def text_of(path: str | Path) -> str:
    """Return the text in the file of a dataset, or "" if there is none."""
    if str(path) == str(DIGITS):
        return ""
    with open_hdf5(path) as file:
        found = file.attrs.get(ATTRIBUTE, "")
    return found if isinstance(found, str) and read_text(found) else ""
