"""What a user says of the arrays in the files of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distcnn.config.types import AUTO
from distcnn.data.description import SPLITS
from distcnn.data.names import IMAGES, LABELS
from distcnn.data.references import expanded, file_of, parse_reference

OPTIONS = {"train": "", "test": "test_", "validation": "validation_"}  # how the settings of each split begin


@dataclass(frozen=True)
class Wanted:
    """What the user, or a run's configuration, says of the arrays in the files; () and None: to be found.

    images, labels, ...: texts that `parse_reference` reads; several are concatenated.
    layout: the axes of the images, as `axes.parse_axes` reads them.
    map_labels: whether each value of the labels is a class of its own.
    task: the name of the task that the labels are for; AUTO: to be inferred.
    """

    images: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    test_images: tuple[str, ...] = ()
    test_labels: tuple[str, ...] = ()
    validation_images: tuple[str, ...] = ()
    validation_labels: tuple[str, ...] = ()
    layout: str | None = None
    map_labels: bool = False
    task: str = AUTO

    @classmethod
    def of(cls, settings: Any) -> Wanted:
        """Return what settings, or the options of a command, say."""
        texts = {f"{begin}{kind}" for begin in OPTIONS.values() for kind in (IMAGES, LABELS)}
        named = {name: words_of(getattr(settings, name)) for name in texts}
        return cls(**named, layout=settings.layout, map_labels=settings.map_labels, task=settings.task)

    def texts(self, split: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the texts that name images and labels of a split."""
        return getattr(self, f"{OPTIONS[split]}images"), getattr(self, f"{OPTIONS[split]}labels")

    @property
    def names_files(self) -> bool:
        """Whether arrays are named, each with its file."""
        texts = [text for split in SPLITS for each in self.texts(split) for text in each]
        return bool(texts) and all(parse_reference(text).file is not None for text in texts)

    @property
    def names_arrays(self) -> bool:
        """Whether any array is named."""
        return any(each for split in SPLITS for each in self.texts(split))


def words_of(value: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return a setting that is one text, several or None, as texts."""
    return (value,) if isinstance(value, str) else tuple(value or ())


def files_of(words: Sequence[str], wanted: Wanted) -> tuple[str, ...]:
    """Return the absolute paths of all files that are named, by --data or with an array."""
    files = list(expanded(words))
    for split in SPLITS:
        for text in (text for texts in wanted.texts(split) for text in texts):
            reference = parse_reference(text)
            if reference.file is not None:
                path = file_of(reference.file, files)
                files += [path] if path not in files else []
    return tuple(files)
