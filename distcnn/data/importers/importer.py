"""The type of an importer: how it recognizes its files, and how it reads them."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from distcnn.config.types import AUTO
from distcnn.data.importers.archive import SINGLE, files
from distcnn.data.importers.writer import Samples


def no_progress(items: Iterable, title: str, total: int | None = None) -> Iterable:
    """Return the items, without showing progress; a function with a progress bar has the same arguments.

    items: what to iterate over.
    title: the title of the progress bar.
    total: the number of items, if it is known.
    """
    return items


def no_note(line: str) -> None:
    """Tell nobody what an import has left out or changed; a function that prints the line has the same argument."""


@dataclass(frozen=True)
class Options:
    """The user's options for an import.

    size: (h, w) to bring images to
    gray: whether to convert images to gray
    fit: how images get that size, one of `picture_size.FITS`
    pixels: "uint8" or "float", the type that images are scaled to; None to keep what they have
    skip_damaged: whether to leave damaged images out
    images: the name of the array of training images; None to find out
    labels: what holds the classes: a table's or an array's name, or "folders"; None to find out
    layout: the axes of images in arrays, as `axes.parse_axes` reads them; None to find out
    map_labels: whether each value of a label is a class, whatever number it is
    task: what labels in arrays and tables are for, as `config.tasks` names it; AUTO to find out
    label_column: the heading of the classes in a table; None to find out
    test_split, validation_split: the fractions of the training images that become these splits; None if not said
    seed: determines which images these are
    processes: how many decode images; None for as many as there are cores, 0 for none but this one
    progress: a function with the arguments of `no_progress`
    note: is called with each line on what was left out or changed
    """

    size: tuple[int, int] | None = None
    gray: bool = False
    fit: str = "stretch"
    pixels: str | None = None
    skip_damaged: bool = False
    images: str | None = None
    labels: str | None = None
    layout: str | None = None
    map_labels: bool = False
    task: str = AUTO
    label_column: str | None = None
    test_split: float | None = None
    validation_split: float | None = None
    seed: int = 0
    processes: int | None = None
    progress: Callable[..., Iterable] = no_progress
    note: Callable[[str], None] = no_note


PICTURES = {
    "size": None,
    "gray": False,
    "fit": "stretch",
    "pixels": None,
    "skip_damaged": False,
}  # and defaults


def of_pictures(options: Options) -> str | None:
    """Return the first option that applies to image files alone and is set, or None."""
    given = [name for name, default in PICTURES.items() if getattr(options, name) != default]
    return f"--{given[0].replace('_', '-')}" if given else None


class Source:
    """A folder or an archive from which samples are to be imported."""

    def __init__(self, path: str | Path) -> None:
        self.path = path

    def local_path(self, name: str) -> Path | None:
        """Return the path of a file by its name, or None if it lies in an archive."""
        if self.is_folder:
            return Path(self.path, name)
        return Path(self.path) if str(self.path).lower().endswith(SINGLE) else None

    @property
    def is_folder(self) -> bool:
        """Whether the source is a folder, not an archive."""
        return os.path.isdir(self.path)

    @cached_property
    def names(self) -> list[str]:
        """The names of all files, with slashes between folders; raises DataError if the source cannot be read.

        An archive is read to its end for this.
        """
        names = []

        def add(name: str) -> bool:
            """Append a name to the list; return False, so that the file is not read."""
            names.append(name)
            return False

        for _ in files(self.path, add):
            pass
        return names


@dataclass(frozen=True)
class Importer:
    """One format that `distcnn.data import` reads."""

    title: str  # for the help text: "MNIST's IDX files"
    wanted: str  # for the message on a source that no importer recognizes: "MNIST's four IDX files"
    recognizes: Callable[[Source], bool]
    read: Callable[[Source, Options], Samples]
    has_image_files: bool = False  # whether it reads image files, so that the options of PICTURES apply
