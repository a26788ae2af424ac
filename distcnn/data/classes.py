"""The names of the classes: those in the file's attribute `classes`, or else numbers."""

from collections.abc import Iterable
from contextlib import suppress

import h5py
import numpy as np

from distcnn.data.label_values import MAX_CLASSES
from distcnn.errors import DataError


def class_names(file: h5py.File) -> tuple[str, ...] | None:
    """Return the names in the attribute `classes`, or None if there is no such attribute."""
    if "classes" not in file.attrs:
        return None
    names: list[str | None] = []
    shape = file.attrs.get_id("classes").shape
    if shape and len(shape) == 1 and shape[0] <= MAX_CLASSES:
        with suppress(TypeError, UnicodeError):  # a type that NumPy does not have, another encoding
            names = [_text(name) for name in np.asarray(file.attrs["classes"]).tolist()]
    known = [name for name in names if name is not None]
    if not names or len(known) < len(names):
        remedy = "file.attrs['classes'] = ['cat', 'dog']"
        raise DataError(f"the attribute classes is not a list of names; wanted one name per class: {remedy}")
    return tuple(known)


def _text(name: object) -> str | None:
    """Return a name as text, or None if it is not one.

    Raises UnicodeError unless the name is in UTF-8: h5py reads other bytes as surrogates.
    """
    if isinstance(name, str):
        name = name.encode()
    return name.decode() if isinstance(name, bytes) and b"\0" not in name else None


def numbered(labels: Iterable[np.ndarray]) -> tuple[str, ...]:
    """Return the numbers from 0 to the largest label, as names of classes; labels: arrays of the labels of samples."""
    return tuple(str(label) for label in range(1 + max(int(some.max()) for some in labels)))
