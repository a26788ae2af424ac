"""Read the labels of all splits and the names of classes, and find out what they mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import h5py
import numpy as np

from distcnn.config.types import AUTO
from distcnn.data.classes import class_names, named_classes, names_beside, task_in
from distcnn.data.description import Array
from distcnn.data.hdf5_file import open_hdf5
from distcnn.data.label_rows import Rows
from distcnn.data.label_task import understand_task
from distcnn.data.label_values import TEXT
from distcnn.data.labels import MAPPED, Coding
from distcnn.data.reading import read_labels
from distcnn.errors import DataError

T = TypeVar("T")

Report = Callable[[str, str], None]  # called with the path of a file and a problem in it
Names = tuple[str, ...] | None  # of classes


def read_or_report(path: str, read: Callable[[h5py.File], T], report: Report) -> T | None:
    """Return read(file) for the file at a path, or None after a report."""
    with open_hdf5(path) as file:
        try:
            return read(file)
        except DataError as error:
            report(path, str(error))
    return None


class LabelReader:
    """Finds out what the labels in some files mean.

    files: the paths of the files.
    report: called with each problem.
    note: called with what the user should know.
    task: what the labels are for, AUTO to infer it.
    """

    def __init__(self, files: tuple[str, ...], report: Report, note: Callable[[str], None], task: str = AUTO):
        self.files, self.report, self.note, self.task = files, report, note, task

    def coding(self, arrays: Sequence[Array], names: Sequence[str] | None, mapped: bool) -> Coding | None:
        """Return what the labels in arrays mean, or None if there are none or after a report.

        names: the names of the classes among which text and identifiers must be, if they are known from elsewhere;
            they also name the columns of rows in files that do not name them.
        mapped: whether each value is a class of its own.
        """
        strict, loose = self._class_names()
        if not arrays:
            return None
        loose = loose or self._names_beside(arrays)
        labels = {self._name(each): read_labels(each) for each in arrays}
        counts = {self._name(each): len(each) for each in arrays}
        try:
            self.task = self._task()
            found = self._fitting(labels, counts, loose, mapped) if strict is None and loose else None
            found = found or understand_task(self.task, labels, counts, strict, mapped)
            if names is not None and found.kind in (TEXT, MAPPED):
                return understand_task(self.task, labels, counts, names, mapped)
            if (
                isinstance(found, Rows)
                and strict is loose is None
                and len(names or ()) == len(found.classes or ())
            ):
                return replace(found, classes=tuple(names or ()))
            return found
        except DataError as error:
            self.report(self.files[0], str(error))
        return None

    def _fitting(
        self, labels: dict[str, np.ndarray], counts: dict[str, int], names: Sequence[str], mapped: bool
    ) -> Coding | None:
        """Return what the labels mean with names that may be meant for them, or None if they are not."""
        try:
            return understand_task(self.task, labels, counts, names, mapped)
        except DataError:
            self.note(f"the {len(names)} names of classes do not fit the labels and are not used")
            return None

    def _task(self) -> str:
        """Return the task that the user or a file names; raise DataError if they name different ones."""
        said = {read_or_report(file, task_in, self.report) for file in self.files} - {None}
        task = next((each for each in sorted(map(str, said)) if each != self.task), self.task)
        if self.task not in (AUTO, task):
            raise DataError(f"its attribute task says {task}: leave --task {self.task} out")
        return task

    def _names_beside(self, arrays: Sequence[Array]) -> Names:
        """Return the names of classes that all arrays of labels have themselves; None if some have none, or others."""
        found = set()
        for array in arrays:
            with open_hdf5(array.file) as file:
                found.add(names_beside(file, array.path))
        return found.pop() if len(found) == 1 else None

    def _name(self, array: Array) -> str:
        """Return the name of labels in messages, different for all arrays."""
        rows = f"[{array.start}:{array.stop}]" if array.start else ""
        return f"{array.path if len(self.files) == 1 else f'{array.file}:{array.path}'}{rows}"

    def _class_names(self) -> tuple[Names, Names]:
        """Return the names in the attribute `classes`, and those under another usual name; None for what is not there.

        Files that have different names are reported.
        """
        found: list[set] = [set(), set()]
        for file in self.files:
            for names, read in zip(found, (class_names, named_classes), strict=True):
                names.add(read_or_report(file, read, self.report))
        for names in found:
            names.discard(None)
            if len(names) > 1:
                first, second = sorted(map(str, names))[:2]
                self.report(
                    self.files[0],
                    f"files name different classes, {first[:80]} and {second[:80]}: name them alike",
                )
        strict, loose = (next(iter(names), None) for names in found)
        return strict, loose
