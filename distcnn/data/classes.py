"""The names of the classes: from the file's attribute `classes`, else their numbers."""

from collections.abc import Iterable

import h5py
import numpy as np

from distcnn.errors import DataError


def class_names(file: h5py.File) -> tuple[str, ...] | None:
    """Return the names in the attribute `classes`, or None if there is no such attribute."""
    if "classes" not in file.attrs:
        return None
    try:
        stored = np.asarray(file.attrs["classes"])
        names = [name.decode() if isinstance(name, bytes) else name for name in stored.reshape(-1).tolist()]
    except (TypeError, UnicodeDecodeError):  # a type that NumPy does not have, another encoding
        names = []
    if not names or stored.ndim != 1 or not all(isinstance(name, str) for name in names):
        remedy = "file.attrs['classes'] = ['cat', 'dog']"
        raise DataError(f"the attribute classes is not a list of names; wanted one name a class: {remedy}")
    return tuple(names)


def numbered(labels: Iterable[np.ndarray]) -> tuple[str, ...]:
    """Return the classes that labels tell of, each named by its number."""
    return tuple(str(label) for label in range(1 + max(int(some.max()) for some in labels)))
