"""Phrases of the lines that tell what an import has left out or changed."""

from collections.abc import Collection

from distcnn.system.counts import counted


def noted(names: Collection[str], what: str) -> list[str]:
    """Return a line on images, with the first of their names; no line if there are none.

    what: was done to them: "left out, as ..."
    """
    return [f"{counted(len(names), 'image')} {what} (first: {min(names)})"] if names else []


def few(words: Collection[str]) -> str:
    """Return a list of the first three words."""
    first = list(words)[:3]
    return ", ".join(first) + ", ..." * (len(words) > len(first))
