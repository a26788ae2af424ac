"""The report of `distcnn.data info`: what the file of a dataset contains, and everything that is wrong with it."""

import os
from collections.abc import Iterator
from contextlib import suppress

import h5py
import numpy as np

from distcnn.data import schema
from distcnn.data.classes import class_names
from distcnn.data.dataset import load
from distcnn.data.hdf5_dataset import find_dataset
from distcnn.data.hdf5_file import open_hdf5
from distcnn.data.statistics import channel_statistics
from distcnn.errors import DataError
from distcnn.parallel.serial import SerialComm
from distcnn.system.counts import counted
from distcnn.system.terminal_text import printable

MANY_CLASSES = 40  # with more, classes are not listed one by one

Classes = tuple[str, ...] | None  # their names, if the file has them
Counts = dict[str, np.ndarray]  # by split: samples of each class


def report(path: str) -> tuple[list[str], list[str]]:
    """Return two lists of lines of text: what the file contains, and what is wrong with it."""
    counts: Counts = {}
    classes: Classes = None
    with open_hdf5(path) as file:
        lines = [f"{path}: {counted(os.path.getsize(path), 'byte')}"]
        wrong = list(schema.problems(file))
        with suppress(DataError):
            classes = class_names(file)
        for name, dataset in _found(file):
            lines.append(f"{name}  {schema.type_of(dataset)} {dataset.shape}, {_storage(dataset)}")
            if any(schema.dataset_problems(name, dataset)) or dataset.nbytes > schema.MEMORY_LIMIT:
                continue  # values of a wrong type or shape cannot be checked, and too many would not fit into memory
            problem = _report_values(name, dataset[:], classes, lines, counts)
            wrong += [problem] if problem else []
    lines += _class_lines(classes, counts)
    if not wrong:
        lines.append(f"fingerprint  {load(path, SerialComm()).fingerprint}")
    return lines, wrong


def _found(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield (name, dataset) for each required dataset that can be read."""
    for name in schema.dataset_names(file):
        with suppress(DataError):
            yield name, find_dataset(file, name)


def _report_values(
    name: str, values: np.ndarray, classes: Classes, lines: list[str], counts: Counts
) -> str | None:
    """Check the values of a dataset and add what they contain to the report; return a problem, or None.

    name: the path of the dataset; it ends in "images" or "labels".
    values: the whole dataset.
    classes: the names of the classes, if the file has them.
    lines: the report, to which lines on images are added.
    counts: to which the number of samples of each class is added, for labels.
    """
    if name.endswith("images"):
        problem = schema.pixel_value_problem(name, values)
        if not problem:
            lines += _pixel_lines(values.reshape(schema.with_channels(values.shape)))
        return problem
    problem = schema.label_value_problem(name, values, classes)
    if not problem:
        split = name.split("/")[1]
        counts[split] = np.bincount(values.astype(np.int64), minlength=len(classes or ()))
    return problem


def _storage(dataset: h5py.Dataset) -> str:
    """Return, as text, how a dataset is stored in the file."""
    if not dataset.chunks:
        return "contiguous"
    packed = f"compressed by {dataset.compression or 'other filters'}" if dataset._filters else "uncompressed"
    return f"in chunks {dataset.chunks}, {packed}, {counted(dataset.id.get_storage_size(), 'byte')}"


def _pixel_lines(images: np.ndarray) -> Iterator[str]:
    """Yield a line on the range of all values, and one for each channel."""
    yield f"    values from {images.min():g} to {images.max():g}"
    for channel, (mean, std) in enumerate(zip(*channel_statistics(images), strict=True)):
        yield f"    channel {channel}: mean {mean:g}, standard deviation {std:g}"


def _class_lines(classes: Classes, counts: Counts) -> Iterator[str]:
    """Yield lines on how many samples of each class the splits hold."""
    number = len(classes) if classes else max(map(len, counts.values()), default=0)
    yield counted(number, "class") + ("" if classes else ", by number, as the attribute classes is missing")
    rows = {split: np.pad(count, (0, number - len(count))) for split, count in counts.items()}
    if number > MANY_CLASSES:
        for split, row in rows.items():
            yield f"    {split}: {row.min()} to {row.max()} samples per class"
        return
    for label in range(number if rows else 0):
        each = ", ".join(f"{row[label]} {split}" for split, row in rows.items())
        yield f"    {label:2d} {printable(classes[label]) if classes else '':12s} {each}"
