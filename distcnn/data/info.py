"""The report of `distcnn.data info`: what a dataset's files contain, and everything that is or looks wrong with it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import h5py
import numpy as np

from distcnn.config.tasks import TASKS
from distcnn.data import schema
from distcnn.data.checks import Checks
from distcnn.data.dataset import file_names, load
from distcnn.data.describe import describe
from distcnn.data.description import Array, Description
from distcnn.data.hdf5_file import open_hdf5
from distcnn.data.label_values import NUMBERS
from distcnn.data.labels import Coding
from distcnn.data.reading import read_images, read_labels
from distcnn.data.statistics import channel_statistics, target_statistics
from distcnn.data.summary import is_plain, line
from distcnn.data.survey import type_of
from distcnn.data.wanted import Wanted
from distcnn.parallel.serial import SerialComm
from distcnn.system.counts import counted
from distcnn.system.terminal_text import printable

MANY_CLASSES = 40  # with more, classes are not listed one by one

Classes = tuple[str, ...] | None  # their names, if the file has them
Counts = dict[str, np.ndarray]  # by split: samples of each class


@dataclass
class Findings:
    """What a report says.

    lines: what the files contain.
    wrong: what is wrong: nothing can be trained.
    odd: what looks wrong, though one can train.
    """

    lines: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)


def report(words: Sequence[str], wanted: Wanted | None = None) -> Findings:
    """Return what some files contain, and what is or looks wrong.

    words: the files as the user names them.
    wanted: what the user says of their arrays.
    """
    wanted = wanted or Wanted()
    files, findings = file_names(words, wanted), Findings()
    for file in files:
        with open_hdf5(file):
            findings.lines.append(f"{_shown(file)}: {os.path.getsize(file):,} bytes")
    found = _described(files, wanted, findings)
    if found.splits and all(each.images for each in found.splits.values()) and not is_plain(found):
        findings.lines.append(f"data: {line(found)}")
    counts = _report_arrays(found, findings)
    classes = found.coding.classes if found.coding else None
    if found.coding and not TASKS[found.coding.task].standardizes:
        findings.lines += _class_lines(classes, counts, TASKS[found.coding.task].output)
    if not findings.wrong and _has_labels(found, "train"):
        findings.lines.append(f"fingerprint  {load(files, SerialComm(), wanted=wanted).fingerprint}")
    findings.odd += found.notes
    return findings


def _described(files: tuple[str, ...], wanted: Wanted, findings: Findings) -> Description:
    """Return the description of some files, and add what is wrong with it to the findings.

    Nothing is wrong with test images alone: the findings say what they are good for.
    """
    problems: list[str] = []
    found = describe(files, wanted, (), report=lambda file, problem: problems.append(problem))
    use = None if problems else _use_without_training(found)
    if use is None and not problems and not _has_labels(found, "train"):
        return describe(files, wanted, report=lambda file, problem: findings.wrong.append(problem))
    findings.wrong += problems
    if use:
        findings.lines.append(use)
    return found


def _use_without_training(found: Description) -> str | None:
    """Return a line on what test images alone are good for, or None if a description has others."""
    if set(found.splits) != {"test"}:
        return None
    if _has_labels(found, "test"):
        return "good for evaluate and predict: test images alone; training needs training images, too"
    return "good for predict: test images without labels; training needs training images with labels"


def _has_labels(found: Description, split: str) -> bool:
    """Return whether there is a split with labels."""
    return split in found.splits and bool(found.splits[split].labels)


def _shown(file: str) -> str:
    """Return the path of a file as it is written from here."""
    relative = os.path.relpath(file)
    return printable(file if relative.startswith(os.pardir) else relative)


def _report_arrays(found: Description, findings: Findings) -> Counts:
    """Add what each array contains to the findings; return how many samples of each class the splits hold."""
    checks, counts = Checks(findings.odd.append), {}
    for name, split in found.splits.items():
        for images in split.images:
            findings.lines.append(_array_line(images, found.files))
            if images.nbytes > schema.MEMORY_LIMIT:
                continue  # too many values to check
            values = np.empty((len(images), *images.image), images.becomes)
            read_images(images, values)
            problem = schema.pixel_value_problem(images.path, values)
            if problem:
                findings.wrong.append(problem)
                continue
            findings.lines += _pixel_lines(values)
            checks.images(name, images.path, values)
        numbers = []
        for labels in split.labels:
            findings.lines.append(_array_line(labels, found.files))
            if found.coding:
                numbers.append(found.coding.numbers(labels.path, read_labels(labels), len(labels)))
        if numbers and found.coding:
            counts[name] = _counts(np.concatenate(numbers), found.coding, findings)
    if found.coding and not TASKS[found.coding.task].has_rows:
        checks.classes(counts, found.coding.kind == NUMBERS)
    return counts


def _counts(labels: np.ndarray, coding: Coding, findings: Findings) -> np.ndarray:
    """Return how many samples have each class or label; of measures, add lines to the findings, and return [0]."""
    if labels.ndim == 1:
        return np.bincount(labels, minlength=len(coding.classes or ()))
    if not TASKS[coding.task].standardizes:
        return labels.sum(axis=0, dtype=np.int64)
    for name, column, mean, std in zip(
        coding.classes or (), labels.T, *target_statistics(labels), strict=True
    ):
        found = f"from {column.min():g} to {column.max():g}, mean {mean:g}, standard deviation {std:g}"
        findings.lines.append(f"    target {printable(name)}: {found}")
    return np.zeros(0, np.int64)


def _array_line(array: Array, files: Sequence[str]) -> str:
    """Return a line on the name, type, shape and storage of an array."""
    with open_hdf5(array.file) as file:
        dataset = file[array.path]
        name = array.path if len(files) == 1 else f"{_shown(array.file)}:{array.path}"
        rows = f", rows {array.start} to {array.stop}" if array.start else ""
        return f"{printable(name)}  {type_of(dataset)} {dataset.shape}, {_storage(dataset)}{rows}"


def _storage(dataset: h5py.Dataset) -> str:
    """Return, as text, how a dataset is stored in the file."""
    if dataset.is_virtual:
        return "virtual, in other datasets"
    if not dataset.chunks:
        return "contiguous"
    packed = f"compressed by {dataset.compression or 'other filters'}" if dataset._filters else "uncompressed"
    return f"in chunks {dataset.chunks}, {packed}, {counted(dataset.id.get_storage_size(), 'byte')}"


def _pixel_lines(images: np.ndarray) -> Iterator[str]:
    """Yield a line on the range of all values, and one for each channel."""
    yield f"    values from {images.min():g} to {images.max():g}"
    for channel, (mean, std) in enumerate(zip(*channel_statistics(images), strict=True)):
        yield f"    channel {channel}: mean {mean:g}, standard deviation {std:g}"


def _class_lines(classes: Classes, counts: Counts, noun: str) -> Iterator[str]:
    """Yield lines on how many samples of each class the splits hold; noun: what classes are called."""
    number = len(classes) if classes else max(map(len, counts.values()), default=0)
    yield counted(number, noun) + ("" if classes else ", by number, as the attribute classes is missing")
    rows = {split: np.pad(count, (0, number - len(count))) for split, count in counts.items()}
    if number > MANY_CLASSES:
        for split, row in rows.items():
            yield f"    {split}: {row.min()} to {row.max()} samples per {noun}"
        return
    for label in range(number if rows else 0):
        each = ", ".join(f"{row[label]} {split}" for split, row in rows.items())
        yield f"    {label:2d} {printable(classes[label]) if classes else '':12s} {each}"
