"""What to say of images that differ in size or in depth, so that they do not fit into one array."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from distcnn.data.importers.pictures import Header
from distcnn.errors import DataError

DEPTHS = {"8": "8 bits per channel", "16": "16 bits per channel", "float": "floating-point pixels"}


def raise_difference(source: str, headers: Mapping[str, Header]) -> NoReturn:
    """Raise the DataError that says which images differ; headers: of all images, by their names."""
    sizes: dict[str, str] = {}
    depths: dict[str, str] = {}
    for name, header in sorted(headers.items()):
        sizes.setdefault(f"{header.height} x {header.width} pixels", name)
        depths.setdefault(DEPTHS[header.depth], name)
    if len(depths) > 1:
        remedy = "scale all with --pixels uint8 or --pixels float"
        if DEPTHS["float"] in depths:
            remedy = "import each kind on its own"
        raise DataError(f"{source}: {_both(depths)}; wanted 8 bits per channel, or one depth: {remedy}")
    more = f", and there are {len(sizes)} sizes" * (len(sizes) > 2)
    raise DataError(f"{source}: {_both(sizes)}{more}; wanted one size: resize all with --size HxW")


def _both(found: Mapping[str, str]) -> str:
    """Return a phrase on the first two images that differ; found: name by what the image has."""
    return ", ".join(f"{name} has {what}" for what, name in list(found.items())[:2])
