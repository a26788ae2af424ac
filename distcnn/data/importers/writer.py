"""Write imported samples to the file of a dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from distcnn.config.tasks import TASKS
from distcnn.config.types import CLASSIFY
from distcnn.data.fingerprint import digest, seal
from distcnn.errors import DataError
from distcnn.system.atomic_files import atomic_file

# Images [n, c, h, w], and labels [n] or [n, outputs], None where nobody knows them.
Pair = tuple[np.ndarray, np.ndarray | None]
MOST_NAMES = 4000  # of classes, in the first format of HDF5, in which an attribute has at most 64 KiB
SEALED = {"train", "test"}  # the splits that the seal covers


@dataclass(frozen=True)
class Samples:
    """The samples that an importer has read.

    splits: {split: (images uint8 or float32 [n, c, h, w], labels)}; train is first. Labels that are not known, of
        images that are there for prediction, are None.
    classes: the names of the classes, labels or targets.
    attributes: further attributes of the file.
    task: what the labels are for; the file says it where it is not classify.
    """

    splits: Mapping[str, Pair]
    classes: tuple[str, ...]
    attributes: dict[str, str] = field(default_factory=dict)
    task: str = CLASSIFY


def write(path: str | Path, samples: Samples) -> None:
    """Write the file of a dataset, with a seal; it appears complete or not at all.

    The arrays are contiguous and not compressed, so that reading MNIST takes 30 ms.
    """
    check_classes(samples.classes)
    with atomic_file(path) as whole, h5py.File(whole, "w", libver=format_for(samples.classes)) as file:
        file.attrs["classes"] = samples.classes
        if samples.task != CLASSIFY:
            file.attrs["task"] = samples.task
        for name, text in samples.attributes.items():
            file.attrs[name] = text
        for split, (images, labels) in samples.splits.items():
            file[f"{split}/images"] = images
            if labels is not None:
                file[f"{split}/labels"] = labels
        if (sealed := seal_of(samples)) is not None:
            file["train"].attrs["seal"] = sealed


def format_for(classes: Sequence[str] | None) -> tuple[str, str]:
    """Return the versions of HDF5's format in which the attribute `classes` fits into a file."""
    is_large = classes is not None and len(classes) > MOST_NAMES
    return ("v108", "v108") if is_large else ("earliest", "latest")


def seal_of(samples: Samples) -> str | None:
    """Return the seal of samples, over the arrays that training reads; None if it reads others, too."""
    arrays: dict[str, np.ndarray] = {}
    for split, (images, labels) in samples.splits.items():
        if split not in SEALED or labels is None:
            return None
        arrays |= {f"{split}/images": images, f"{split}/labels": labels.astype(TASKS[samples.task].dtype)}
    return seal(digest(arrays).hex(), samples.classes)


def check_classes(classes: tuple[str, ...]) -> None:
    """Raise DataError for a name that HDF5 cannot hold: not in UTF-8, as surrogates say, or with a null character."""
    for name in classes:
        if "\0" in name or any("\ud800" <= character <= "\udfff" for character in name):
            raise DataError(f"the class {name!r} has a name that is not text in UTF-8: rename its folder")
