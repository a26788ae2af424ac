"""CIFAR-10 and CIFAR-100 in their binary version (Krizhevsky 2009), as a folder or an archive."""

import re

import numpy as np

from distcnn.data.importers.archive import files
from distcnn.data.importers.importer import Importer, Options, Source
from distcnn.data.importers.writer import Samples
from distcnn.data.schema import MEMORY_LIMIT
from distcnn.errors import DataError

BATCH = re.compile(r"(data_batch_[1-9]\d*|test_batch|train|test)\.bin")
PICKLE = re.compile(r"data_batch_[1-9]\d*|test_batch|batches\.meta")  # of the Python version
CLASS_FILES = "batches.meta.txt", "fine_label_names.txt"  # the class names of CIFAR-10, and of CIFAR-100
SHAPE = 3, 32, 32
PIXELS = 3072


def recognizes(source: Source) -> bool:
    """Return whether a source holds CIFAR's binary files; raise DataError if it holds CIFAR's Python pickles."""
    last = [_last(name) for name in source.names]
    if any(map(BATCH.fullmatch, last)):
        return True
    if any(map(PICKLE.fullmatch, last)) or any(
        name.endswith("cifar-100-python/meta") for name in source.names
    ):
        problem = "these are CIFAR's pickles, which can run code"
        remedy = "download that, cifar-10-binary.tar.gz or cifar-100-binary.tar.gz"
        raise DataError(f"{source.path}: {problem}; wanted its binary version: {remedy}")
    return False


def read_cifar(source: Source, options: Options) -> Samples:
    """Return the samples, with the training batches in the order of their numbers; CIFAR-100 has its fine labels."""
    found = _contents(source)
    is_hundred = CLASS_FILES[1] in found
    classes = _classes(found.get(CLASS_FILES[is_hundred], b""), source)
    batches = {name: content for name, content in found.items() if name.endswith(".bin")}
    test = [name for name in batches if name.startswith("test")]
    train = sorted(batches.keys() - set(test), key=lambda name: (len(name), name))
    if not train:
        raise DataError(f"{source.path} has no batch to train with: download it again")
    splits = {}
    for split, names in {"train": train, "test": test}.items():
        if names:
            wanted = {name: batches[name] for name in names}
            splits[split] = _records(wanted, len(classes), 1 + is_hundred, source)
    return Samples(splits, classes)


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _contents(source: Source) -> dict[str, bytes]:
    """Return the contents of CIFAR's files by their names without folders."""
    found: dict[str, bytes] = {}
    total = 0
    for name, content in files(source.path, lambda name: _is_ours(_last(name))):
        total += len(content)
        if total > MEMORY_LIMIT:
            raise DataError(
                f"{source.path} holds batches of more than {MEMORY_LIMIT >> 30} GiB: import fewer"
            )
        if found.setdefault(_last(name), content) is not content:
            raise DataError(f"{source.path} holds {_last(name)} twice: remove one")
    return found


def _is_ours(name: str) -> bool:
    return bool(BATCH.fullmatch(name)) or name in CLASS_FILES


def _classes(content: bytes, source: Source) -> tuple[str, ...]:
    """Return the names of the classes from the content of a class file, which has one name per line."""
    lines = content.decode(errors="replace").split("\n")
    classes = tuple(line.strip() for line in lines if line.strip())
    if not classes:
        wanted = " or ".join(CLASS_FILES)
        raise DataError(f"{source.path} has no {wanted}, the names of the classes: download it again")
    return classes


def _records(
    batches: dict[str, bytes], classes: int, label_bytes: int, source: Source
) -> tuple[np.ndarray, np.ndarray]:
    """Return images and labels of batches.

    batches: contents of files by name; a record is a coarse label (in CIFAR-100), a label, then the pixels.
    classes: the number of classes.
    label_bytes: how many labels a record has, 1 or 2.
    source: the source, for messages.
    """
    size = label_bytes + PIXELS
    for name, content in batches.items():
        if not content or len(content) % size:
            found = f"{name} has {len(content)} bytes; wanted records of {size}"
            raise DataError(f"{source.path}: {found}: download it again")
    rows = np.frombuffer(b"".join(batches.values()), np.uint8).reshape(-1, size)
    labels = rows[:, label_bytes - 1].copy()
    if labels.max() >= classes:
        found = f"a label {labels.max()}, but names {classes} classes"
        raise DataError(f"{source.path} has {found}: download it again")
    return rows[:, label_bytes:].reshape(-1, *SHAPE), labels


IMPORTER = Importer(
    title="CIFAR's binary files",
    wanted="CIFAR's binary version",
    recognizes=recognizes,
    read=read_cifar,
)
