"""What an importer is: how it recognizes its files, and how it reads them."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from distcnn.data.importers.archive import files
from distcnn.data.importers.writer import Samples


def no_progress(items: Iterable, title: str, total: int | None = None) -> Iterable:
    """Return the items: the progress function of callers that want no progress shown."""
    return items


@dataclass(frozen=True)
class Options:
    """What the user asks of an import."""

    size: tuple[int, int] | None = None  # (h, w) to resize image files to
    gray: bool = False  # make image files gray
    progress: Callable[..., Iterable] = no_progress


class Source:
    """A folder or an archive from which samples are to be imported."""

    def __init__(self, path: str | Path) -> None:
        self.path = path

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder, not an archive."""
        return os.path.isdir(self.path)

    @cached_property
    def names(self) -> list[str]:
        """The names of all files in it, with slashes; DataError if it cannot be read. Archives are read to the end."""
        names = []

        def add(name: str) -> bool:
            """Remember a name; do not read the file."""
            names.append(name)
            return False

        for _ in files(self.path, add):
            pass
        return names


@dataclass(frozen=True)
class Importer:
    """One format that `distcnn.data import` reads."""

    title: str  # for the help: "MNIST's IDX files"
    wanted: str  # for the message on a source that nobody recognizes: "MNIST's four IDX files"
    recognizes: Callable[[Source], bool]
    read: Callable[[Source, Options], Samples]
    has_image_files: bool = False  # so that the options `size` and `gray` have a meaning
