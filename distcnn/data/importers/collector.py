"""Put decoded pictures into the arrays of a dataset, and tell what was done to them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from math import prod

import numpy as np

from distcnn.data.importers.notes import noted
from distcnn.data.importers.pictures import ALPHA_DROPPED, PAGES_DROPPED, TURNED, Picture
from distcnn.data.schema import MEMORY_LIMIT
from distcnn.errors import DataError

TOLD = {
    TURNED: "turned or mirrored, as their EXIF data say",
    ALPHA_DROPPED: "with transparency, which is left out",
    PAGES_DROPPED: "with several pages or frames, of which only the first is used",
}


class Differ(Exception):
    """Two pictures have different sizes, or other depths: they do not fit into one array."""


class Collector:
    """The images of a dataset while they come in, in any order.

    places: (split, row) of each image by its name
    counts: the number of images of each split
    """

    def __init__(self, source: str, places: Mapping[str, tuple[str, int]], counts: Mapping[str, int]) -> None:
        self._source, self._places, self._counts = source, places, counts
        self.images: dict[str, np.ndarray] = {}
        self.good = {split: np.zeros(count, bool) for split, count in counts.items()}
        self._remarks: dict[str, list[str]] = defaultdict(list)
        self.depth: str | None = None  # of the first file

    def add(self, name: str, picture: Picture) -> None:
        """Add a picture; raise Differ if it is not like the others."""
        split, row = self._places[name]
        self._make_room(picture)
        self.images[split][row] = picture.pixels
        self.good[split][row] = True
        for remark in picture.remarks:
            self._remarks[remark].append(name)

    def _make_room(self, picture: Picture) -> None:
        """Make the arrays, and make those of gray images have three channels if a picture has color."""
        shape, dtype = picture.pixels.shape, picture.pixels.dtype
        if not self.images:
            self.depth = picture.depth
            self._require_memory(shape, dtype)
            self.images = {split: np.zeros((n, *shape), dtype) for split, n in self._counts.items()}
        known = next(iter(self.images.values()))
        if (shape[1:], dtype, picture.depth == "float") != (
            known.shape[2:],
            known.dtype,
            self.depth == "float",
        ):
            raise Differ
        if shape[0] > known.shape[1]:
            self._require_memory(shape, dtype)
            self.images = {split: np.repeat(images, 3, axis=1) for split, images in self.images.items()}

    def _require_memory(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        total = sum(self._counts.values())
        size = total * prod(shape) * dtype.itemsize
        if size > MEMORY_LIMIT:
            what = f"{total:,} images of {' x '.join(map(str, shape))}"
            limit = f"{size / 2**30:.1f} GiB; at most {MEMORY_LIMIT >> 30} GiB"
            raise DataError(f"{self._source}: {what} take {limit}: ask for a smaller --size HxW")

    def notes(self) -> list[str]:
        """Return lines on what was done to pictures."""
        return told(self._remarks)


def told(names: Mapping[str, Collection[str]]) -> list[str]:
    """Return a line for each remark; names: of the images, by the remark."""
    return [line for remark, what in TOLD.items() for line in noted(names.get(remark, ()), what)]
