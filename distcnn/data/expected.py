"""What a trained net expects of images: it helps to understand the files of data that the net has not seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from distcnn.data.dataset import file_names
from distcnn.data.describe import describe
from distcnn.data.description import Description
from distcnn.data.wanted import Wanted
from distcnn.errors import DataError


@dataclass(frozen=True)
class Expected:
    """What a trained net says of images and labels.

    wanted: how the arrays of its own data were named.
    shape: of an image, (c, h, w); None: unknown.
    classes: the names of the classes; None: unknown.
    """

    wanted: Wanted = field(default_factory=Wanted)
    shape: tuple[int, ...] | None = None
    classes: Sequence[str] | None = None

    def way(
        self, data: str | Path | Sequence[str] | None, fits: Callable[[Description], bool]
    ) -> tuple[Wanted, Description]:
        """Return how to understand data, and their description: as the net's own data, if that fits, else by names.

        data: as for `dataset.load`.
        fits: returns whether a description has what is looked for.

        Raises DataError if the last way to understand the data fails.
        """
        files = file_names(data, self.wanted if data is None else Wanted())
        for wanted in self.ways[:-1]:
            try:
                found = describe(files, wanted, (), self.shape, self.classes)
            except DataError:
                continue
            if fits(found):
                return wanted, found
        return self.ways[-1], describe(files, self.ways[-1], (), self.shape, self.classes)

    @property
    def ways(self) -> list[Wanted]:
        """The ways to understand data, in the order in which they are tried."""
        labels = Wanted(map_labels=self.wanted.map_labels, task=self.wanted.task)
        layout = replace(labels, layout=self.wanted.layout)
        return list(dict.fromkeys([self.wanted, layout, labels]))
