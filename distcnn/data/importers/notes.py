"""Phrases of the lines that tell what an import has left out or changed."""

from collections.abc import Collection, Iterable

from distcnn.data.importers.folder_names import is_unread
from distcnn.system.counts import counted


def noted(names: Collection[str], what: str) -> list[str]:
    """Return a line on images, with the first of their names; no line if there are none.

    what: was done to them: "left out, as ..."
    """
    return [f"{counted(len(names), 'image')} {what} (first: {min(names)})"] if names else []


def unread(names: Iterable[str]) -> list[str]:
    """Return a line on image files of kinds that are not read; no line if there are none; names: of all files."""
    return noted(list(filter(is_unread, names)), "left out, of a kind that is not read: save them as PNG")


def few(words: Collection[str]) -> str:
    """Return a list of the first three words."""
    first = list(words)[:3]
    return ", ".join(first) + ", ..." * (len(words) > len(first))
