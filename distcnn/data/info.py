"""What a dataset's file holds and everything that is wrong with it, for a person to read."""

import os
from collections.abc import Iterator
from contextlib import suppress

import h5py
import numpy as np

from distcnn.data.classes import class_names
from distcnn.data.dataset import load
from distcnn.data.hdf5_file import opened
from distcnn.data.schema import MEMORY_LIMIT, dataset_problems, find, names, problems, type_of, with_channels
from distcnn.data.statistics import channel_statistics
from distcnn.data.values import label_value_problem, pixel_value_problem
from distcnn.errors import DataError
from distcnn.parallel.serial import SerialComm

MANY = 40  # more classes than these are summed up in a line


def report(path: str) -> tuple[list[str], list[str]]:
    """Return, as lines, what the file holds and what is wrong with it."""
    with opened(path) as file:
        lines = [f"{path}: {os.path.getsize(path):,} bytes"]
        wrong = list(problems(file))
        classes, counts = None, {}
        with suppress(DataError):
            classes = class_names(file)
        for name, dataset in _found(file):
            lines.append(f"{name}  {type_of(dataset)} {dataset.shape}, {_storage(dataset)}")
            if any(dataset_problems(name, dataset)) or dataset.nbytes > MEMORY_LIMIT:
                continue  # its values mean nothing, or are too many
            values = dataset[:]
            if name.endswith("images"):
                problem = pixel_value_problem(name, values)
                lines += [] if problem else _pixels(values.reshape(with_channels(values.shape)))
            elif not (problem := label_value_problem(name, values, classes)):
                counts[name.split("/")[1]] = np.bincount(
                    values.astype(np.int64), minlength=len(classes or ())
                )
            wrong += [problem] if problem else []
    lines += _classes(classes, counts)
    if not wrong:
        lines.append(f"fingerprint  {load(path, SerialComm()).fingerprint}")
    return lines, wrong


def _found(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    for name in names(file):
        with suppress(DataError):
            yield name, find(file, name)


def _storage(dataset: h5py.Dataset) -> str:
    if not dataset.chunks:
        return "in one run"
    packed = f"packed by {dataset.compression or 'other filters'}" if dataset._filters else "not packed"
    return f"in chunks {dataset.chunks}, {packed}, {dataset.id.get_storage_size():,} bytes"


def _pixels(images: np.ndarray) -> Iterator[str]:
    """Yield a line on the range of all values, and one for each channel."""
    yield f"    values from {images.min():g} to {images.max():g}"
    for channel, (mean, std) in enumerate(zip(*channel_statistics(images), strict=True)):
        yield f"    channel {channel}: mean {mean:g}, standard deviation {std:g}"


def _classes(classes: tuple[str, ...] | None, counts: dict[str, np.ndarray]) -> Iterator[str]:
    """Yield how many samples of each class the parts hold."""
    number = len(classes) if classes else max(map(len, counts.values()), default=0)
    title = "classes" if classes else "classes, by number, as the attribute classes is missing"
    yield f"{number} {title}"
    rows = {part: np.pad(count, (0, number - len(count))) for part, count in counts.items()}
    if number > MANY:
        yield from (f"    {part}: {row.min()} to {row.max()} samples a class" for part, row in rows.items())
        return
    for label in range(number if rows else 0):
        each = ", ".join(f"{row[label]} {part}" for part, row in rows.items())
        yield f"    {label:2d} {classes[label] if classes else '':12s} {each}"
