"""The columns of a table that hold labels: classes, several labels, or measures; what is open is asked.

Classes stand in the only column that is left, in one with a usual name, or in several columns of 0 and 1 with one 1 in
each row. If some rows have more than one 1, they are several labels. Several columns of numbers are measures only if
the user names them, as one of them may be the target and the others not.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import NamedTuple

from distcnn.config.types import AUTO, REGRESS
from distcnn.errors import DataError

LABEL_NAMES = {
    "label",
    "labels",
    "class",
    "classes",
    "classid",
    "class_id",
    "class_name",
    "category",
    "target",
    "y",
}
LABEL_NAMES |= {"species", "breed", "diagnosis", "dx", "tag", "name", "type"}
MISSING = ("", "?", "nan", "none", "null")

Row = list[str]


class Labels(NamedTuple):
    """The labels of a table.

    texts: of each row, the name of its class, or numbers separated by blanks; one of MISSING if it has none.
    columns: the headings of the columns whose numbers labels are; () for names of classes.
    """

    texts: list[str]
    columns: tuple[str, ...]


def find_labels(
    name: str, heads: Sequence[str], rows: Sequence[Row], taken: set[int], wanted: str | None, task: str
) -> Labels:
    """Return the labels of a table; raise DataError if it is open which columns hold them.

    name: of the table, for messages.
    heads: the headings of all columns.
    taken: the columns that hold something else.
    wanted: the headings of the labels, separated by commas; None to find them.
    task: what labels are for; AUTO to find out.
    """
    filled = [k for k in range(len(heads)) if k not in taken and any(row[k].strip() for row in rows)]
    others = filled if wanted is None else _named(name, heads, wanted)
    usual = [k for k in others if heads[k].lower() in LABEL_NAMES]
    chosen = others if len(others) == 1 else usual if wanted is None else []
    if len(chosen) == 1:
        cells = [row[chosen[0]].strip() for row in rows]
        are_numbers = _are_numbers(cells)
        if are_numbers and _are_measures(cells, task):
            _require_alone(name, heads, rows, chosen[0], others)
        return Labels(cells, (heads[chosen[0]],) if are_numbers else ())
    found = _of_several(heads, rows, others, measures=wanted is not None, task=task)
    if found is None:
        raise DataError(f"{name} has columns {_listed(heads, others)}; {_question(heads, rows, others)}")
    return found


def _named(name: str, heads: Sequence[str], wanted: str) -> list[int]:
    """Return the columns that the user names; raise DataError unless each name is one of a column."""
    found = []
    for word in [wanted] if wanted in heads else wanted.split(","):
        columns = [k for k, head in enumerate(heads) if head == word.strip()]
        if len(columns) != 1:
            raise DataError(f"{name} has no column {word.strip()}: it has {', '.join(heads)}")
        found += columns
    return found


def _of_several(
    heads: Sequence[str], rows: Sequence[Row], columns: Sequence[int], measures: bool, task: str
) -> Labels | None:
    """Return the labels in several columns, None if it is open what they are.

    measures: whether they may be measures, as the user has named them.
    """
    if len(columns) < 2:
        return None
    names = tuple(heads[k] for k in columns)
    cells = [[row[k].strip() for k in columns] for row in rows]
    if task != REGRESS and all(map(_is_one_hot, cells)):
        return Labels([names[next(k for k, cell in enumerate(row) if _is_one(cell))] for row in cells], ())
    if task != REGRESS and all(map(_are_answers, cells)) and any(sum(map(_is_one, row)) > 1 for row in cells):
        return Labels([" ".join("1" if _is_one(cell) else "0" for cell in row) for row in cells], names)
    if measures and task in (AUTO, REGRESS) and all(map(_are_numbers, cells)):
        return Labels([" ".join(row) if all(map(is_number, row)) else "" for row in cells], names)
    return None


def _are_measures(cells: Sequence[str], task: str) -> bool:
    """Return whether the numbers in a column are measures."""
    return task == REGRESS or (task == AUTO and any(float(cell) % 1 for cell in cells if is_number(cell)))


def _require_alone(
    name: str, heads: Sequence[str], rows: Sequence[Row], column: int, others: Sequence[int]
) -> None:
    """Raise DataError if other columns hold numbers, too, besides that with the usual name of measures."""
    several = [k for k in others if k == column or _are_numbers([row[k].strip() for row in rows])]
    if len(several) > 1:
        found = f"{name} has several columns of numbers, {_listed(heads, several)}"
        raise DataError(f"{found}; say which are the targets: {_either(heads, column, several)}")


def _question(heads: Sequence[str], rows: Sequence[Row], others: Sequence[int]) -> str:
    """Return the question which of several columns hold the labels."""
    classes = "say which holds the classes: --label-column NAME"
    numbers = [k for k in others if _are_numbers([row[k].strip() for row in rows])]
    return f"{classes}, or which are targets: --label-column NAME,NAME" if len(numbers) > 1 else classes


def _either(heads: Sequence[str], column: int, several: Sequence[int]) -> str:
    together = ",".join(heads[k] for k in several)
    return f"--label-column {heads[column]} or --label-column {together}"


def _listed(heads: Sequence[str], columns: Sequence[int]) -> str:
    return ", ".join(heads[k] for k in columns) or "of nothing"


def _are_numbers(cells: Sequence[str]) -> bool:
    """Return whether cells are numbers, or missing."""
    return all(is_number(cell) or cell.lower() in MISSING for cell in cells)


def is_number(cell: str) -> bool:
    """Return whether a cell holds a finite number."""
    try:
        return isfinite(float(cell)) and "_" not in cell
    except ValueError:
        return False


def _is_one_hot(cells: Sequence[str]) -> bool:
    """Return whether a row has zeros and exactly one 1."""
    return sum(map(_is_one, cells)) == 1 and _are_answers(cells)


def _are_answers(cells: Sequence[str]) -> bool:
    """Return whether a row has zeros and ones alone."""
    return all(_is_one(cell) or _is_zero(cell) for cell in cells)


def _is_one(cell: str) -> bool:
    return cell.strip() in ("1", "1.0", "True", "true")


def _is_zero(cell: str) -> bool:
    return cell.strip() in ("0", "0.0", "False", "false")
