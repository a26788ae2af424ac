"""How users name arrays, [FILE:]/path[START:STOP], and files, which a pattern may stand for."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from distcnn.data.labels import natural
from distcnn.errors import DataError

PATTERN = re.compile(r"(?:(.+):)?([^:\[\]]+)(?:\[(\d{0,18}):(\d{0,18})\])?", re.ASCII)
WANTED = "wanted /path, FILE:/path or FILE:/path[START:STOP]"
IN_MEMORY = "arrays in memory"  # stands in a run's settings for a file that no longer exists
SAVE_THEM = "name a file that holds them (--data FILE)"


@dataclass(frozen=True)
class Reference:
    """Some rows of an array, as a user or a configuration names it.

    file: as it is written; None: in each of the files that have this path.
    path: the absolute path in the file; None: the only array in the file that can be meant.
    start, stop: the rows; None: from the first, to the last.
    """

    file: str | None
    path: str | None
    start: int | None = None
    stop: int | None = None

    def __str__(self) -> str:
        rows = "" if self.start is self.stop is None else f"[{_number(self.start)}:{_number(self.stop)}]"
        return f"{self.file}:{self.path}{rows}" if self.file else f"{self.path}{rows}"


def parse_reference(text: str) -> Reference:
    """Return the Reference that a text writes; raise DataError if it is not valid."""
    match = PATTERN.fullmatch(text)
    if not match:
        raise DataError(f"{text[:100]!r} names no array; {WANTED}")
    file, path, *rows = match.groups()
    start, stop = (int(number) if number else None for number in rows)
    if file is None and os.path.isfile(path):
        return Reference(path, None, start, stop)
    return Reference(file, "/" + path.strip("/"), start, stop)


def expanded(words: Sequence[str]) -> tuple[str, ...]:
    """Return absolute paths of files; a pattern, such as 'part-*.h5', stands for all that match, part-2 before part-10.

    Raises DataError for a pattern that no file matches, and for arrays in memory of another process.
    """
    found: list[str] = []
    if IN_MEMORY in words and not os.path.lexists(IN_MEMORY):
        raise DataError(f"the data of these settings were {IN_MEMORY}: {SAVE_THEM}")
    for word in words:
        if os.path.lexists(word) or not glob.has_magic(word):
            found.append(os.path.abspath(word))
            continue
        files = sorted(glob.glob(word, recursive=True), key=_natural_parts)
        if not files:
            raise DataError(f"no file matches {word}; wanted HDF5 files: check the pattern")
        found += map(os.path.abspath, files)
    twice = next((path for k, path in enumerate(found) if path in found[:k]), None)
    if twice:
        raise DataError(f"{twice} is named twice; wanted each file once")
    return tuple(found)


def file_of(word: str, files: Sequence[str]) -> str:
    """Return the path of the file that a reference names: one of `files`, by its whole path or its end, else another.

    Raises DataError if there is no such file, or more than one.
    """
    path = os.path.abspath(word)
    ends = [file for file in files if file.endswith(os.sep + word)]
    if path in files or (not ends and os.path.lexists(path)):
        return path
    if len(ends) != 1:
        found = "is the end of several files" if ends else "is none of the files"
        raise DataError(f"{word} {found} that --data names; wanted FILE:/path with the name of one")
    return ends[0]


def short(file: str, files: Sequence[str]) -> str | None:
    """Return the shortest end of a path by which `file_of` finds it among `files`; None if it is the only one."""
    if len(files) < 2:
        return None
    steps = file.split(os.sep)
    for count in range(1, len(steps)):
        end = os.sep.join(steps[-count:])
        if sum(each.endswith(os.sep + end) for each in files) == 1:
            return end
    return file


def texts_of(references: Sequence[Reference], files: Sequence[str]) -> tuple[str, ...]:
    """Return the texts that name arrays: /path alone if each of the files has it, else with the ends of the files."""
    same = len({(each.path, each.start, each.stop) for each in references}) == 1
    if same and [each.file for each in references] == list(files):
        return (str(replace(references[0], file=None)),)
    return tuple(str(replace(each, file=short(str(each.file), files))) for each in references)


def _natural_parts(path: str) -> list[tuple[int, int, str]]:
    """Return a sort key by which part-2 comes before part-10."""
    return [natural(part) for part in re.split(r"(\d+)", path)]


def _number(number: int | None) -> str:
    return "" if number is None else str(number)
