"""Tables of labels, .csv or .tsv: columns with the names of image files, their classes and perhaps their splits.

Which column is which follows from what is in it: the names are those that match most files; `label_columns` finds the
labels among the others. What is open is asked.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from distcnn.config.types import AUTO
from distcnn.data.importers.folder_names import WORDS
from distcnn.data.importers.label_columns import MISSING, Row, find_labels
from distcnn.errors import DataError

ENDINGS = (".csv", ".tsv")
NOT_LABELS = "submission"  # in the name of a table of zeros, in which somebody is to write predictions
SPLIT_NAMES = ("split", "set", "subset", "partition", "dataset")
SIZE = 2**26  # bytes of a table
LOOK = 200  # rows that are looked at to find out which column is which


@dataclass(frozen=True)
class Label:
    """What a table says of an image; split: None if it does not say that."""

    label: str
    split: str | None


@dataclass(frozen=True)
class Table:
    """What a table says.

    labels: by the name of the image file.
    missing: names of which there is no file.
    columns: the headings of the columns whose numbers labels are, separated by blanks; () for names of classes.
    """

    labels: dict[str, Label]
    missing: tuple[str, ...]
    columns: tuple[str, ...] = ()


def is_table(name: str) -> bool:
    """Return whether a file of this name may be a table of labels."""
    last = name.rpartition("/")[2].lower()
    return last.endswith(ENDINGS) and not last.startswith(".") and NOT_LABELS not in last


class Names:
    """The names of all image files, to be found by what a table calls them."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = set(names)
        self._by_last: dict[str, list[str]] = defaultdict(list)
        for name in names:
            last = name.rpartition("/")[2]
            self._by_last[last].append(name)
            self._by_last[last.rpartition(".")[0]].append(name)

    def find(self, cell: str, folder: str) -> list[str]:
        """Return the names that a cell may mean, of a table in a folder; the cell may lack folders and ending."""
        cell = cell.strip().replace("\\", "/").removeprefix("./")
        for exact in (f"{folder}/{cell}" if folder else cell, cell):
            if exact in self._names:
                return [exact]
        found = self._by_last.get(cell.rpartition("/")[2], []) if cell else []
        longer = [name for name in found if f"/{name}".endswith(f"/{cell}")]
        return longer or found


def read_table(name: str, content: bytes, names: Names, wanted: str | None, task: str = AUTO) -> Table | None:
    """Return what a table says of images, or None if it names none of them.

    wanted: the headings of the labels, separated by commas; None to find them
    task: what labels are for; AUTO to find out

    Raises DataError if it is open where the labels are, or which file a name means.
    """
    rows = _rows(name, content)
    folder = name.rpartition("/")[0]
    paths = _path_column(rows, names, folder)
    if paths is None:
        return None
    is_headed = not names.find(rows[0][paths], folder)
    heads = [cell.strip() for cell in rows[0]] if is_headed else [str(k) for k in range(1, len(rows[0]) + 1)]
    rows = rows[is_headed:]
    splits = _split_column(heads, rows, paths)
    taken = {paths} if splits is None else {paths, splits}
    labels, columns = find_labels(name, heads, rows, taken, wanted, task)
    matched = ((row[paths], label, _split(row, splits)) for row, label in zip(rows, labels, strict=True))
    return replace(_matched(name, names, folder, matched), columns=columns)


def _matched(name: str, names: Names, folder: str, rows: Iterable[tuple[str, str, str | None]]) -> Table:
    """Return a table by the names of files, without columns; rows: (what the table calls the file, label, split)."""
    labels: dict[str, Label] = {}
    missing = []
    for cell, text, split in rows:
        found = names.find(cell, folder)
        if len(found) > 1:
            raise DataError(
                f"{name}: {cell!r} may be {found[0]} or {found[1]}: write folders before the name"
            )
        if not found:
            missing.append(cell)
        elif text.strip().lower() not in MISSING:
            label = Label(text.strip(), split)
            if labels.setdefault(found[0], label) != label:
                both = f"{labels[found[0]].label} and {label.label}"
                raise DataError(f"{name} says of {found[0]} that it is {both}: remove one row")
    return Table(labels, tuple(missing))


def _rows(name: str, content: bytes) -> list[Row]:
    """Return the rows of a table, all of one length; the delimiter is the one that splits the first line most."""
    text = content.decode("utf-8-sig", errors="replace")
    first = text.partition("\n")[0]
    delimiter = max("\t,;|", key=first.count)
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if any(row)]
    except csv.Error as error:
        raise DataError(f"{name} cannot be read as a table ({error}): save it as plain CSV") from None
    width = max(map(len, rows), default=0)
    return [row + [""] * (width - len(row)) for row in rows]


def _path_column(rows: list[Row], names: Names, folder: str) -> int | None:
    """Return the column whose cells are most often names of files, or None if none ever is."""
    some = rows[: LOOK + 1]
    if not some or len(some[0]) < 2:
        return None
    found = [sum(bool(names.find(row[k], folder)) for row in some) for k in range(len(some[0]))]
    return found.index(max(found)) if any(found) else None


def _split_column(heads: list[str], rows: list[Row], paths: int) -> int | None:
    """Return the column that says to which split an image belongs, if there is one."""
    for k, head in enumerate(heads):
        if (
            head.lower() in SPLIT_NAMES
            and k != paths
            and all(row[k].strip().lower() in WORDS for row in rows)
        ):
            return k
    return None


def _split(row: Row, column: int | None) -> str | None:
    return None if column is None else WORDS[row[column].strip().lower()]
