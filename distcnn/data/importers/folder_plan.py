"""Where each image file goes: its split, its row and its class. It depends on the set of the names alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

from distcnn.config.types import AUTO, CLASSIFY, MULTILABEL, REGRESS
from distcnn.data.importers.folder_names import Image, arranged, prefixed, prefixes, split_of
from distcnn.data.importers.label_columns import is_number
from distcnn.data.importers.notes import noted
from distcnn.data.importers.tables import Table
from distcnn.data.labels import natural
from distcnn.errors import DataError

WANTED = "wanted train/CLASS/IMAGE.jpg and optionally test/CLASS/IMAGE.jpg"
FRACTION = "--test-split 0.2 takes a fifth of the images for testing, --test-split 0 none"
FOLDERS = "folders"  # what --labels names if the classes are those of folders
SPLITS = ("train", "validation", "test")


class Sample(NamedTuple):
    """An image file with its split and its class, or None for what is not known."""

    image: Image
    split: str | None
    label: str | None


@dataclass(frozen=True)
class Plan:
    """Where all images go.

    splits: (name, label) of the images of each split in order; label: None if the classes of a split are not known
    classes: the names of the classes; of rows, what labels number, as text: numbers separated by blanks
    notes: what a user should know
    rows: if labels are for several labels or measures, their task and the names of the columns; None for classes
    """

    splits: dict[str, list[tuple[str, int | None]]]
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    rows: tuple[str, tuple[str, ...]] | None = None


def make_plan(
    source: str,
    names: Sequence[str],
    tables: dict[str, Table],
    has_fraction: bool,
    labels: str | None = None,
    task: str = AUTO,
) -> Plan:
    """Return where all images go.

    source: the name of the source, for messages
    names: of all image files, in any order
    tables: those that name image files
    has_fraction: whether the user says which fraction of the images is to be the test split
    labels: the table whose labels count, or FOLDERS; None to find out
    task: what labels in tables are for; AUTO to find out

    Raises DataError if it is open which class or split an image belongs to.
    """
    ordered = sorted(names)
    if twice := next((a for a, b in pairwise(ordered) if a == b), None):
        raise DataError(f"{source} holds {twice} twice: pack it again")
    images = arranged(ordered)
    used = _chosen(source, images, tables, labels)
    samples = _labeled_by_tables(images, used) if used else _labeled_by_names(source, images, has_fraction)
    rows = _rows_of(source, list(used.values()), task)
    return replace(_plan(source, samples, _unused(tables, used), rows is not None), rows=rows)


def _rows_of(source: str, tables: list[Table], task: str) -> tuple[str, tuple[str, ...]] | None:
    """Return the task and the columns of labels that are rows of numbers, None if they name classes."""
    columns = tables[0].columns if tables else ()
    rows = [label.label for table in tables for label in table.labels.values()]
    found = _task_of_rows(columns, rows, task) if columns else None
    if found is None and task not in (AUTO, CLASSIFY):
        raise DataError(f"{source} has no table of numbers for --task {task}: leave it out")
    if found == CLASSIFY:
        which = f"{', '.join(columns)} are several labels an image"
        raise DataError(
            f"{source}: {which}: leave --task {task} out, or name one, --label-column {columns[0]}"
        )
    other = next((table.columns for table in tables if table.columns != columns), columns)
    if found and other != columns:
        both = f"{', '.join(columns)} in one and {', '.join(other) or 'none'} in another"
        raise DataError(
            f"{source} has tables with other columns of numbers, {both}: give them the same headings"
        )
    return (found, columns) if found else None


def _task_of_rows(columns: tuple[str, ...], rows: list[str], task: str) -> str | None:
    """Return the task that numbers in some columns are for, None if each number is a class; task: what the user says.

    CLASSIFY stands for several columns that the user takes for classes.
    """
    numbers = {number for row in rows for number in row.split()}
    are_several, are_answers = len(columns) > 1, numbers <= {"0", "1"}
    if task == CLASSIFY or not numbers:
        return CLASSIFY if are_several else None
    if task == AUTO:
        has_fractions = any(float(number) % 1 for number in numbers if is_number(number))
        if not (are_several or has_fractions):
            return None
        return MULTILABEL if are_several and are_answers else REGRESS
    return task if are_answers or task == REGRESS else None


# ---- classes ----


def _chosen(
    source: str, images: list[Image], tables: dict[str, Table], labels: str | None
) -> dict[str, Table]:
    """Return the tables whose labels count; {} if those of folders do."""
    if labels is not None and labels != FOLDERS:
        found = {name: table for name, table in tables.items() if f"/{name}".endswith(f"/{labels}")}
        if len(found) != 1:
            raise DataError(f"{source} has no table {labels} that names its images; it has {_listed(tables)}")
        return found
    classes = {image.folder for image in images if image.split in (None, "train")}
    in_folders = None not in classes and len(classes) > 1
    in_splits = any(image.split for image in images)
    if labels == FOLDERS or not tables or (in_folders and in_splits):
        return {}
    if in_folders:
        raise DataError(
            f"{source} has {len(classes)} folders of images and a table, {_listed(tables)}: say what the classes are, "
            f"--labels {FOLDERS} or --labels {next(iter(tables)).rpartition('/')[2]}"
        )
    if len(tables) > 1 and len({split_of(name.rpartition("/")[2]) for name in tables} - {None}) < len(tables):
        raise DataError(
            f"{source} has several tables, {_listed(tables)}: say which holds the classes, --labels NAME"
        )
    return tables


def _labeled_by_tables(images: list[Image], tables: dict[str, Table]) -> list[Sample]:
    """Return samples with what tables say of them."""
    known = {}
    for name, table in tables.items():
        split = split_of(name.rpartition("/")[2])
        known |= {image: (each.label, each.split or split) for image, each in table.labels.items()}
    samples = []
    for image in images:
        label, split = known.get(image.name, (None, None))
        split = split or image.split or ("train" if label else None)
        samples.append(Sample(image, split, label))
    return samples


def _labeled_by_names(source: str, images: list[Image], has_fraction: bool) -> list[Sample]:
    """Return samples whose classes are those of their folders, or in front of numbers in their names."""
    has_splits = any(image.split for image in images)
    if not has_splits and not has_fraction:
        raise DataError(
            f"{source} has no folder train with images in it; {WANTED}, or for folders of classes: {FRACTION}"
        )
    of_train = [image for image in images if image.split == "train" or not has_splits]
    if classes := prefixes(of_train):
        images = [prefixed(image, classes) for image in images]
    else:
        for image in of_train:
            if image.folder is None:
                raise DataError(f"{source}: {image.name} is not in the folder of a class; {WANTED}")
    return [Sample(image, image.split or (None if has_splits else "train"), image.folder) for image in images]


# ---- splits ----


def _plan(source: str, samples: list[Sample], notes: list[str], has_rows: bool = False) -> Plan:
    """Return the plan for samples whose classes and splits are known as far as they can be.

    has_rows: whether labels are numbers, of which the training split need not have all
    """
    by_split: dict[str | None, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_split[sample.split].append(sample)
    notes += _left_out(by_split.pop(None, []), "in no folder of a split, or without a row")
    train = by_split.pop("train", [])
    notes += _left_out([sample for sample in train if sample.label is None], "without a class")
    train = [sample for sample in train if sample.label is not None]
    if not train:
        raise DataError(f"{source} has no images to train with; {WANTED}")
    known = [*train, *(each for found in by_split.values() for each in found if has_rows)]
    classes = sorted({str(sample.label) for sample in known if sample.label is not None}, key=natural)
    splits = {"train": train} | _others(source, by_split, set(classes), notes)
    numbers = {name: k for k, name in enumerate(classes)}
    rows = {split: _rows(found, numbers) for split, found in splits.items()}
    return Plan(rows, tuple(classes), tuple(notes))


def _others(
    source: str, by_split: dict[str | None, list[Sample]], classes: set[str], notes: list[str]
) -> dict[str, list[Sample]]:
    """Return the splits beside train; adds to the notes what is left out or used in another way than its name says."""
    test, validation = by_split.get("test", []), by_split.get("validation", [])
    strange = [sample for sample in validation if sample.label not in classes]
    if test and strange:
        notes += _left_out(
            validation, f"a validation split with {strange[0].image.name}, whose class train does not have"
        )
        validation = []
    if validation and not test:
        test, validation = validation, []
        notes.append("there is no test split: that for validation takes its place")
    if not test:
        test = by_split.get("prediction", [])
    else:
        notes += _left_out(by_split.get("prediction", []), "for prediction, beside a test split")
    if _is_unlabeled(test, classes):
        notes.append(f"the {len(test):,} test images have no classes: they are for prediction")
        test = [Sample(sample.image, "test", None) for sample in test]
    for sample in [*test, *validation]:
        if sample.label is not None and sample.label not in classes:
            what = f"{sample.image.name} is of class {sample.label}, which train does not have"
            raise DataError(f"{source}: {what}; give both the same classes")
    return {split: found for split, found in (("validation", validation), ("test", test)) if found}


def _is_unlabeled(test: list[Sample], classes: set[str]) -> bool:
    """Return whether the images of a test split have no classes: they are in no folders, or all in another one."""
    labels = {sample.label for sample in test}
    return bool(test) and (
        labels == {None} or (len(labels) == 1 and not labels & classes and len(classes) > 1)
    )


def _rows(samples: list[Sample], numbers: dict[str, int]) -> list[tuple[str, int | None]]:
    """Return (name, label) of samples in the order of their classes, then of their names."""
    ranks = {label: natural(label or "") for label in {sample.label for sample in samples}}

    def key(sample: Sample) -> tuple:
        return ranks[sample.label], sample.image.steps, sample.image.name

    return [(each.image.name, numbers.get(each.label or "")) for each in sorted(samples, key=key)]


# ---- notes ----


def _left_out(samples: list[Sample], why: str) -> list[str]:
    """Return a note on images that are left out; none if there are none."""
    return noted([sample.image.name for sample in samples], f"left out, {why}")


def _unused(tables: dict[str, Table], used: dict[str, Table]) -> list[str]:
    """Return a note on each table that is not used."""
    return [f"{name} is not used: the classes are those of folders" for name in tables if name not in used]


def _listed(tables: dict[str, Table]) -> str:
    return ", ".join(tables) or "none"
