"""What a file holds, by names and shapes: the candidates for images and labels of each split."""

from __future__ import annotations

from dataclasses import dataclass

import h5py

from distcnn.data.hdf5_dataset import find_dataset
from distcnn.data.hdf5_file import open_hdf5
from distcnn.data.hdf5_links import followed
from distcnn.data.names import IMAGES, LABELS, role_of
from distcnn.data.references import Reference
from distcnn.data.survey import OBJECTS, TEXT, Found, Rows, split_table, survey
from distcnn.errors import DataError

LINKS = 8  # files that one path may lead through
MEMBERS = 64  # of a group behind a link


@dataclass(frozen=True)
class Candidate:
    """An array that may be images or labels.

    file: the path of the file that names it.
    found: the dataset; a link is shown as the dataset to which it leads.
    kind: IMAGES, LABELS or None, as its name says.
    split: as its name says; None if it says none.
    rows: start and stop of the rows that belong to the split; None: all.
    """

    file: str
    found: Found
    kind: str | None
    split: str | None
    rows: tuple[int, int] | None = None

    @property
    def path(self) -> str:
        return self.found.path

    @property
    def ends(self) -> set[int]:
        """The sizes of the axes that may count samples."""
        if self.rows:
            return {self.rows[1] - self.rows[0]}
        return {self.found.shape[0], self.found.shape[-1]} if self.found.shape else set()

    @property
    def is_numbers(self) -> bool:
        return self.found.dtype not in (TEXT, OBJECTS, "link")

    def reference(self) -> Reference:
        """Return what names this array."""
        return Reference(self.file, self.path, *(self.rows or (None, None)))


def candidates(path: str, has_names: bool = False) -> list[Candidate]:
    """Return all arrays of a file, with what their names and the attribute `split` say of them.

    has_names: whether the user names arrays, so that an attribute `split` that is not understood does not matter.
    """
    with open_hdf5(path) as file:
        listed = [member for each in survey(file) for member in _members(file, each)]
        found = {each.path: _resolved(file, each) for each in listed}
        table = [rows for rows in _table(file, has_names) if rows.path in found]
    parts = _of_table(path, found, table)
    tabled = {each.path for each in parts}
    others = [each for each in found.values() if each.path not in tabled]
    roles = [role_of(each.path) for each in others]
    return parts + [
        Candidate(path, each, role.kind, role.split) for each, role in zip(others, roles, strict=True)
    ]


def _table(file: h5py.File, has_names: bool) -> list[Rows]:
    """Return the attribute `split`; see `candidates`."""
    try:
        return split_table(file)
    except DataError:
        if has_names:
            return []
        raise


def _of_table(path: str, found: dict[str, Found], table: list[Rows]) -> list[Candidate]:
    """Return the rows of arrays that belong to splits by a table.

    The rows of an array that the table does not name are those of the others, if it is as long as they are.
    """
    named = {rows.path for rows in table}
    lengths = {_length(found[name]) for name in named}
    more = [name for name in found.keys() - named if role_of(name).kind and {_length(found[name])} == lengths]
    ranges = dict.fromkeys((rows.split, rows.start, rows.stop) for rows in table)
    every = table + [Rows(split, name, start, stop) for name in sorted(more) for split, start, stop in ranges]
    return [
        Candidate(path, found[rows.path], role_of(rows.path).kind, rows.split, (rows.start, rows.stop))
        for rows in every
    ]


def _length(found: Found) -> int:
    return found.shape[0] if found.shape else 0


def located(path: str, name: str) -> tuple[str, str]:
    """Return (path of a file, path in it) of the dataset to which a path leads, through other files if need be."""
    first, first_name = path, name
    for _ in range(LINKS):
        with open_hdf5(path) as file:
            other, inner = followed(file, name)
        if other is None:
            return path, inner
        path, name = other, inner
    raise DataError(
        f"{first_name} is a link that leads through more than {LINKS} files, from {first}: name the last one"
    )


def _members(file: h5py.File, found: Found) -> list[Found]:
    """Return the members of the group that a link leads to, under the path of the link; anything else as it is."""
    if found.dtype != "link":
        return [found]
    try:
        other, inner = followed(file, found.path)
        if other is None:
            return _of_group(file, inner, found)
        other, inner = located(other, inner)
        with open_hdf5(other) as target:
            return _of_group(target, inner, found)
    except DataError:
        return [found]


def _of_group(file: h5py.File, path: str, found: Found) -> list[Found]:
    """Return the members of an object of a file as links below another path, or that path alone if it is no group."""
    group = file[path]
    if not isinstance(group, h5py.Group):
        return [found]
    return [
        Found(f"{found.path}/{name}", None, "link") for name in list(group)[:MEMBERS] if isinstance(name, str)
    ]


def _resolved(file: h5py.File, found: Found) -> Found:
    """Return what a link with a usual name leads to, under the path of the link; anything else as it is."""
    if found.dtype != "link" or role_of(found.path).kind not in (IMAGES, LABELS):
        return found
    try:
        other, inner = followed(file, found.path)
        if other is None:
            return _described(file, inner, found.path)
        other, inner = located(other, inner)
        with open_hdf5(other) as target:
            return _described(target, inner, found.path)
    except DataError:
        return found


def _described(file: h5py.File, path: str, name: str) -> Found:
    return Found.of(name, find_dataset(file, path))
