"""Make the Description of a dataset from its files: which arrays, with which axes, and what the labels mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import zip_longest
from typing import Any, TypeVar

import h5py
import numpy as np

from distcnn.data.axes import Axes, find_axes, given_axes, parse_axes
from distcnn.data.choice import Choice, Chosen, choose, missing
from distcnn.data.contents import located
from distcnn.data.description import Array, Description, ImageArray, SplitArrays
from distcnn.data.file_states import States, state_of, states_of, unchanged
from distcnn.data.fingerprint import read_seal
from distcnn.data.hdf5_dataset import find_dataset
from distcnn.data.hdf5_file import open_hdf5
from distcnn.data.hdf5_virtual import check_sources
from distcnn.data.label_reading import LabelReader, Report, read_or_report
from distcnn.data.label_values import label_axis, sample_axis
from distcnn.data.names import IMAGES, LABELS
from distcnn.data.references import Reference, texts_of
from distcnn.data.schema import consistency_problems, image_problem, table_problem
from distcnn.data.survey import OBJECTS, type_of
from distcnn.data.wanted import OPTIONS, Wanted
from distcnn.errors import DataError

A = TypeVar("A", bound=Array)

SEALED = "NCHW", "NHW"  # the axes of images in a file that bears a seal
OPEN = 16  # files that are held open at a time, so that they are opened once


def stop(file: str, problem: str) -> None:
    """Raise DataError for a problem in a file."""
    problem = " ".join(problem.split())  # a name in it may have line breaks
    raise DataError(problem if problem.startswith(file) else f"{file}: {problem}")


def describe(
    files: tuple[str, ...],
    wanted: Wanted | None = None,
    needed: Sequence[str] = ("train",),
    like: tuple[int, ...] | None = None,
    names: Sequence[str] | None = None,
    report: Report = stop,
) -> Description:
    """Return the Description of the dataset in some files.

    files: their absolute paths.
    wanted: what the user says of them.
    needed: the splits that there must be, and have labels if they are for training.
    like: the shape (c, h, w) that the images should have, if known.
    names: the names of the classes, if they are known from elsewhere.
    report: called with each problem; it may raise.
    """
    wanted = wanted or Wanted()
    states = states_of(files)
    with unchanged(states), ExitStack() as stack:
        try:
            for file in files if len(files) <= OPEN else ():
                stack.enter_context(open_hdf5(file))
            axes = parse_axes(wanted.layout) if wanted.layout else None
            choice = choose(files, wanted, needed)
        except (DataError, ValueError) as error:
            report(files[0], str(error))
            return Description(files, {}, None)
        return Describer(choice, axes, like, report, states).description(needed, names, wanted)


class Describer:
    """Looks at chosen arrays.

    choice: the arrays.
    axes: those that the user names for all images; None: to be found.
    like: the shape (c, h, w) that the images should have, if known.
    report: called with each problem.
    states: of the files; those of others that hold data are added.
    """

    def __init__(
        self,
        choice: Choice,
        axes: Axes | None,
        like: tuple[int, ...] | None,
        report: Report,
        states: States,
    ):
        self.choice, self.axes, self.like, self.report, self.states = choice, axes, like, report, states
        self.notes: list[str] = []

    def description(self, needed: Sequence[str], names: Sequence[str] | None, wanted: Wanted) -> Description:
        """Return the Description; see `describe`."""
        mapped = wanted.map_labels
        files, splits = self.choice.files, {}
        for split, chosen in self.choice.splits.items():
            splits[split] = self._split(split, chosen, must="train" in needed and split == "train")
        for problem in consistency_problems(splits):
            self.report(files[0], problem)
        arrays = [each for split in splits.values() for each in split.labels]
        reader = LabelReader(files, self.report, self.notes.append, wanted.task)
        coding = reader.coding(arrays, names, mapped)
        is_as_sealed = self.choice.own and len(files) == 1 and not mapped
        seal = read_or_report(files[0], read_seal, self.report) if is_as_sealed else None
        if seal and self.axes and self.axes.letters not in SEALED:
            found = f"the file is sealed, and its images have the axes {SEALED[0]}"
            self.report(files[0], f"{found}, but --layout says {self.axes.letters}: leave --layout out")
        ignored = self.choice.ignored
        if ignored:
            more = f" and {len(ignored) - 6} more" if len(ignored) > 6 else ""
            self.notes.append(f"not used: {', '.join(ignored[:6])}{more}")
        whole = all(split.images for split in splits.values())
        settings = found_settings(self.choice, splits, mapped) if whole else {}
        notes = tuple(self.notes)
        return Description(files, splits, coding, seal, self.choice.own, settings, notes, self.states)

    def _split(self, split: str, chosen: Chosen, must: bool) -> SplitArrays:
        """Return the arrays of a split; must: whether it must have labels."""
        labels = chosen.labels
        if not labels and split == "validation":
            self.notes.append("validation images have no labels and are not used")
        if not labels and split == "test":
            self.notes.append("test images have no labels: they are for prediction only")
        pairs = zip_longest(chosen.images, labels if len(labels) == len(chosen.images) else ())
        images = [self._image(split, image, self._count(label) if label else None) for image, label in pairs]
        if not labels and must:
            problem = missing(split, LABELS, self.choice.files, self.choice.known)
            self.report(str(chosen.images[0].file), problem)
        known = [each for each in images if each]
        sizes = [len(each) for each in known] if len(known) == len(images) else []
        sizes = [sum(sizes)] if len(labels) == 1 else sizes
        some = zip(labels, sizes, strict=True) if len(sizes) == len(labels) else zip_longest(labels, ())
        found = [self._label(label, n) for label, n in some]
        return SplitArrays(tuple(known), tuple(each for each in found if each))

    def _image(self, split: str, reference: Reference, n: int | None) -> ImageArray | None:
        """Return an array of images, or None after a report.

        n: the number of its labels, if it is known.
        """
        name = self._name(reference)

        def look(file: h5py.File, dataset: h5py.Dataset) -> ImageArray:
            problem = image_problem(name, split, dataset)
            if problem:
                raise DataError(problem)
            axes = self._axes(name, dataset.shape, n)
            rows = _rows(name, reference, dataset.shape[axes.sample])
            return ImageArray(file.filename, dataset.name, *rows, dataset.shape, dataset.dtype.str, axes)

        return self._look(reference, look)

    def _axes(self, name: str, shape: tuple[int, ...], n: int | None) -> Axes:
        """Return the axes of images: those that the user names, else those that their shape shows."""
        if self.axes:
            return given_axes(name, shape, self.axes)
        return find_axes(name, shape, n, self.choice.own, self.like)

    def _label(self, reference: Reference, n: int | None) -> Array | None:
        """Return an array of labels, or None after a report; n: the number of images that it labels, if known."""
        name = self._name(reference)

        def look(file: h5py.File, dataset: h5py.Dataset) -> Array:
            problem = table_problem(name, dataset)
            if problem:
                raise DataError(problem)
            if type_of(dataset) == OBJECTS:
                raise DataError(f"{name} holds no numbers and no text; wanted a label for each image")
            if not dataset.shape:
                raise DataError(f"{name} has shape {dataset.shape}; wanted (n,), a label for each image")
            if reference.start is reference.stop is None:
                known = n is not None and sample_axis(dataset.shape, n) is not None
                size = n if n is not None and known else _count(dataset.shape)
                label_axis(name, dataset.shape, size)
                return Array(file.filename, dataset.name, 0, size)
            start, end = _rows(name, reference, dataset.shape[0])
            label_axis(name, (end - start, *dataset.shape[1:]), end - start)
            return Array(file.filename, dataset.name, start, end)

        return self._look(reference, look)

    def _look(self, reference: Reference, look: Callable[[h5py.File, h5py.Dataset], A]) -> A | None:
        """Return look(file, dataset) for the dataset that a reference names, or None after a report."""
        try:
            path, inner = located(str(reference.file), str(reference.path))
            self.states.setdefault(path, state_of(path))
            with open_hdf5(path, (inner,)) as file:
                dataset = find_dataset(file, inner)
                sources = check_sources(file, dataset) if dataset.is_virtual else {}
                self.states |= sources | self.states  # the first state of each
                return replace(look(file, dataset), sources=tuple(sources))
        except DataError as error:
            self.report(str(reference.file), str(error))
        return None

    def _count(self, reference: Reference) -> int | None:
        """Return the number of labels in an array, by its shape, if it is known."""
        found = (
            each.found.shape
            for each in self.choice.known
            if each.file == reference.file and each.path == reference.path
        )
        shape = next(found, None)
        return _count(shape) if shape and reference.start is reference.stop is None else None

    def _name(self, reference: Reference) -> str:
        """Return the name of an array in messages."""
        return str(reference.path if len(self.choice.files) == 1 else f"{reference.file}:{reference.path}")


def found_settings(choice: Choice, splits: dict[str, SplitArrays], mapped: bool) -> dict[str, Any]:
    """Return the settings that name all that was chosen and found; {} where distcnn's own layout says it.

    choice: the arrays of each split, as they are named.
    splits: the same arrays, as they were found.
    mapped: whether each value of the labels is a class of its own.
    """
    axes = {str(each.axes) for split in splits.values() for each in split.images}
    if choice.own and len(choice.files) == 1 and axes <= {"NCHW", "NHW"} and not mapped:
        return {}
    settings: dict[str, Any] = {"layout": axes.pop() if len(axes) == 1 else None}
    for split, chosen in choice.splits.items():
        for kind, references in ((IMAGES, chosen.images), (LABELS, chosen.labels)):
            settings[f"{OPTIONS[split]}{kind}"] = texts_of(references, choice.files)
    return settings


def _rows(name: str, reference: Reference, n: int) -> tuple[int, int]:
    """Return the rows of an array that a reference names; raise DataError unless it has them."""
    start = reference.start or 0
    end = n if reference.stop is None else reference.stop
    if not 0 <= start < end <= n:
        raise DataError(
            f"{name} has {n} rows, and rows {start} to {end} are named; wanted [START:STOP] within them"
        )
    return start, end


def _count(shape: tuple[int, ...]) -> int:
    """Return the number of labels in an array of a shape: of (n,), (n, 1), (1, n), (n, k), ..."""
    return max(shape) if np.prod(shape, dtype=object) == max(shape) else shape[0]
