"""What files say of their labels: the names of the classes, and the task.

The names stand in the attribute `classes`, else under one of the usual names; else there are only numbers.
"""

from collections.abc import Iterable
from contextlib import suppress
from math import prod

import h5py
import numpy as np

from distcnn.config.tasks import TASKS
from distcnn.data.label_values import MAX_CLASSES
from distcnn.data.names import CLASS_NAMES
from distcnn.data.survey import TEXT, type_of
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


def named_classes(file: h5py.File) -> tuple[str, ...] | None:
    """Return the names in an attribute or dataset with one of the usual names, or None if there is none.

    What is no list of different names is passed over, as it may mean something else.
    """
    for name in CLASS_NAMES:
        for values in (_attribute(file, name), _dataset(file, name)):
            names = _listed(values)
            if names:
                return names
    return None


def task_in(file: h5py.File) -> str | None:
    """Return the task that the attribute `task` of a file names, or None if it names none that there is."""
    if "task" not in file.attrs or file.attrs.get_id("task").shape != ():
        return None
    with suppress(TypeError, UnicodeError):  # a type that NumPy does not have, another encoding
        found = file.attrs["task"]
        return found if isinstance(found, str) and found in TASKS else None
    return None


def names_beside(file: h5py.File, path: str) -> tuple[str, ...] | None:
    """Return the names of classes that a dataset of labels has itself, or None if it has none.

    These are a usual attribute of the dataset or of its group, or the names of its type, if that is an enumeration of
    0, 1, 2, ...
    """
    dataset = file[path]
    listed = (_listed(_attribute(each, name)) for each in (dataset, dataset.parent) for name in CLASS_NAMES)
    return next((names for names in listed if names), None) or _enumerated(dataset)


def _enumerated(dataset: h5py.Dataset) -> tuple[str, ...] | None:
    """Return the names that the type of a dataset gives to 0, 1, 2, ..., or None if it does not."""
    values = h5py.check_enum_dtype(dataset.dtype) or {}
    names = tuple(sorted(values, key=values.__getitem__))
    are_text = all(isinstance(name, str) for name in names)  # h5py gives bytes that are not UTF-8 as they are
    is_counted = [values[name] for name in names] == list(range(len(names)))
    return names if names and are_text and is_counted else None


def _attribute(file: h5py.HLObject, name: str) -> np.ndarray | None:
    """Return an attribute of a file, group or dataset if it has a shape that a list of names can have."""
    if name not in file.attrs or not _is_short(file.attrs.get_id(name).shape):
        return None
    try:
        return np.asarray(file.attrs[name])
    except TypeError:
        return None


def _dataset(file: h5py.File, name: str) -> np.ndarray | None:
    """Return a dataset of text in this file if it has a shape that a list of names can have."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        return None
    found = file.get(name)
    if not isinstance(found, h5py.Dataset) or type_of(found) != TEXT or not _is_short(found.shape):
        return None
    return None if found.is_virtual or found.external else found[()]


def _is_short(shape: tuple[int, ...] | None) -> bool:
    return shape is not None and bool(shape) and 0 < prod(shape) == max(shape) <= MAX_CLASSES


def _listed(values: np.ndarray | None) -> tuple[str, ...] | None:
    """Return an array as different names, or None if it is something else."""
    try:
        names = [] if values is None else [_text(each) for each in values.reshape(-1).tolist()]
    except UnicodeError:
        return None
    known = tuple(name.strip() for name in names if name is not None)
    return known if known and len(set(known)) == len(names) else None


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
