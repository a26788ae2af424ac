"""Samples on their way into a dataset's file, wherever they come from, and the file as training wants it."""

from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from distcnn.data.schema import seal
from distcnn.data.values import digest
from distcnn.system.atomic_files import atomic_path


@dataclass(frozen=True)
class Samples:
    """parts: images uint8 [n, c, h, w] and labels [n] by part, train first; notes: further attributes of the file."""

    parts: dict[str, tuple[np.ndarray, np.ndarray]]
    classes: tuple[str, ...]
    notes: dict[str, str] = field(default_factory=dict)


def write(path: str | Path, samples: Samples) -> None:
    """Write a dataset's file, which appears whole.

    Samples are stored in one run and not compressed: reading MNIST then takes 30 ms. The seal goes with them.
    """
    arrays = {}
    for part, (images, labels) in samples.parts.items():
        arrays |= {f"{part}/images": images, f"{part}/labels": labels.astype(np.int32)}
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["classes"] = samples.classes
        for name, text in samples.notes.items():
            file.attrs[name] = text
        for part, (images, labels) in samples.parts.items():
            file[f"{part}/images"], file[f"{part}/labels"] = images, labels
        file["train"].attrs["seal"] = seal(digest(arrays).hex(), samples.classes)
