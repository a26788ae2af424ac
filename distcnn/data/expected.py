"""What a trained net expects of images: it helps to understand the files of data that the net has not seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from distcnn.config.types import AUTO
from distcnn.data.dataset import file_names
from distcnn.data.describe import describe
from distcnn.data.description import Description
from distcnn.data.names import role_of
from distcnn.data.wanted import Wanted
from distcnn.errors import DataError


@dataclass(frozen=True)
class Expected:
    """What a trained net says of images and labels, and what the user says of them now.

    wanted: how the arrays of its own data were named.
    shape: of an image, (c, h, w); None: unknown.
    classes: the names of the classes; None: unknown.
    named: how the user names the arrays of the data that are used now.
    """

    wanted: Wanted = field(default_factory=Wanted)
    shape: tuple[int, ...] | None = None
    classes: Sequence[str] | None = None
    named: Wanted = field(default_factory=Wanted)

    def way(
        self, data: str | Path | Sequence[str] | None, fits: Callable[[Description], bool]
    ) -> tuple[Wanted, Description]:
        """Return how to understand data, and their description: as the net's own data, if that fits, else by names.

        data: as for `dataset.load`.
        fits: returns whether a description has what is looked for.

        Raises DataError if the last way to understand the data fails.
        """
        files = file_names(data, self.wanted if data is None and not self.named.names_arrays else self.named)
        for wanted in self.ways[:-1]:
            try:
                found = describe(files, wanted, (), self.shape, self.classes)
            except DataError:
                continue
            if fits(found):
                return wanted, found
        try:
            return self.ways[-1], describe(files, self.ways[-1], (), self.shape, self.classes)
        except DataError as error:
            if not self._is_of_another_task(files):
                raise
            problem = str(error).rpartition(": ")[0]  # without the remedy, which is one for training
            trained = f"the net was trained for {self.wanted.task}"
            raise DataError(f"{problem}; {trained}: name other data (--data)") from None

    def _is_of_another_task(self, files: tuple[str, ...]) -> bool:
        """Return whether the labels in files are for another task than that of the net."""
        try:
            found = describe(files, replace(self.ways[-1], task=AUTO), (), self.shape, self.classes)
        except DataError:
            return False
        return found.coding is not None and found.coding.task != self.wanted.task

    @property
    def ways(self) -> list[Wanted]:
        """The ways to understand data, in the order in which they are tried."""
        mapped = self.wanted.map_labels or self.named.map_labels
        named = replace(self.named, map_labels=mapped, task=self.wanted.task)
        alike = replace(named, layout=named.layout or self.wanted.layout)
        if self.named.names_arrays:
            return list(dict.fromkeys([alike, named]))
        own = replace(self.wanted, layout=alike.layout, map_labels=mapped)
        return list(dict.fromkeys([own, alike, named]))

    def is_bare(self, found: Description) -> bool:
        """Return whether a description has images of no split, by their names, or because the user names them now."""
        if "train" not in found.splits:
            return False
        return bool(self.named.images) or role_of(found.first.path).split is None
