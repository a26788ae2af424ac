"""CIFAR-10 and CIFAR-100 in their binary version (Krizhevsky 2009), as a folder or an archive."""

import re

import numpy as np

from distcnn.data.importers.archive import files
from distcnn.data.importers.writer import Samples
from distcnn.errors import DataError

BATCH = re.compile(r"(data_batch_[1-9]\d*|test_batch|train|test)\.bin")
NAMES = "batches.meta.txt", "fine_label_names.txt"
PICKLES = re.compile(r"data_batch_\d+|(cifar-100-python/)(train|test)")
SHAPE = 3, 32, 32


def is_cifar(names: list[str]) -> bool:
    """Tell whether these are names of CIFAR's files; raise DataError if they are its pickles."""
    last = [name.rpartition("/")[2] for name in names]
    if any(map(BATCH.fullmatch, last)):
        return True
    if "batches.meta" in last or "cifar-100-python/meta" in names:
        raise DataError(
            "these are CIFAR's pickles, which may run code; wanted its binary version: download that"
        )
    return False


def samples(source: str) -> Samples:
    """Return the samples, train batches in the order of their numbers; of CIFAR-100, the labels are the fine ones."""
    found = {}
    for name, content in files(source, _is_ours):
        if found.setdefault(name.rpartition("/")[2], content) is not content:
            raise DataError(f"{source} holds {name.rpartition('/')[2]} twice: keep one")
    hundred = NAMES[1] in found
    meta = found.get(NAMES[hundred], b"").decode(errors="replace").split("\n")
    classes = tuple(line.strip() for line in meta if line.strip())
    if not classes:
        raise DataError(
            f"{source} has no {NAMES[0]} or {NAMES[1]}, the names of the classes: download it again"
        )
    batches = {name: content for name, content in found.items() if name.endswith(".bin")}
    train = sorted(
        (name for name in batches if not name.startswith("test")), key=lambda name: (len(name), name)
    )
    parts = {"train": train, "test": [name for name in batches if name.startswith("test")]}
    if not train:
        raise DataError(f"{source} has no batch to train with: download it again")
    read = {
        part: _read(source, {name: batches[name] for name in names}, len(classes), 1 + hundred)
        for part, names in parts.items()
        if names
    }
    return Samples(read, classes)


def _is_ours(name):
    last = name.rpartition("/")[2]
    return bool(BATCH.fullmatch(last)) or last in NAMES


def _read(source, batches, classes, bytes_of_labels):
    """Return images and labels of batches: each record is a coarse label, if there are two, a label, and the pixels."""
    record = bytes_of_labels + 3072
    for name, content in batches.items():
        if not content or len(content) % record:
            raise DataError(
                f"{source}: {name} has {len(content)} bytes; wanted records of {record}: download it again"
            )
    rows = np.frombuffer(b"".join(batches.values()), np.uint8).reshape(-1, record)
    labels = rows[:, bytes_of_labels - 1].copy()
    if labels.max() >= classes:
        raise DataError(
            f"{source} has a label {labels.max()}, but names {classes} classes: download it again"
        )
    return rows[:, bytes_of_labels:].reshape(-1, *SHAPE), labels
