"""Read the arrays of a Description from their files, in pieces of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from math import prod

import h5py
import numpy as np

from distcnn.data.description import Array, Description, ImageArray
from distcnn.data.hdf5_file import open_hdf5
from distcnn.data.schema import pixel_value_problem
from distcnn.errors import DataError
from distcnn.system.open_files import allow

LONGEST = 2**12  # bytes of a label
PIECE = 2**26  # bytes that are read at a time where values are converted


def read_split(found: Description, split: str, images: np.ndarray, labels: np.ndarray | None) -> None:
    """Read a split into arrays and check every value.

    found: the description of the dataset.
    split: the name of the split.
    images: uint8 or float32 [n, c, h, w].
    labels: [n] or [n, outputs], as the task says, or None to leave the labels out.

    Raises DataError, which names the file, for a value that cannot be used.
    """
    start = 0
    for array in found.splits[split].images:
        some = images[start : start + len(array)]
        read_images(array, some)
        problem = pixel_value_problem(array.path, some)
        if problem:
            raise DataError(f"{array.file}: {problem}")
        start += len(array)
    if labels is not None and found.coding is not None:
        fill_labels(found, split, labels)


def labels_of(found: Description, split: str) -> np.ndarray:
    """Return the labels of a split, which has some, [n] or [n, outputs], and check their values."""
    assert found.coding is not None
    labels = np.empty(*found.coding.array(len(found.splits[split])))
    fill_labels(found, split, labels)
    return labels


def fill_labels(found: Description, split: str, labels: np.ndarray) -> None:
    """Read the labels of a split, which has some, into an array, [n] or [n, outputs], and check every value."""
    start, coding = 0, found.coding
    assert coding is not None
    for array in found.splits[split].labels:
        try:
            labels[start : start + len(array)] = coding.numbers(array.path, read_labels(array), len(array))
        except DataError as error:
            raise DataError(f"{array.file}: {error}") from None
        start += len(array)


def read_images(array: ImageArray, target: np.ndarray) -> None:
    """Read an array of images into `target`, uint8 or float32 [n, c, h, w], as training sees them."""
    with _opened(array) as dataset:
        if array.is_plain:
            rows = np.s_[array.start : array.stop]
            dataset.read_direct(target.reshape(len(array), *array.shape[1:]), rows)
            return
        step = _step(dataset, array.axes.sample)
        for start in range(array.start, array.stop, step):
            stop = min(start + step, array.stop)
            target[start - array.start : stop - array.start] = array.rows(
                dataset[_samples(array, start, stop)]
            )


def read_stored(array: ImageArray) -> np.ndarray:
    """Return an array of images, or the rows of one, as they are stored, all at once."""
    with _opened(array) as dataset:
        return dataset[_samples(array, array.start, array.stop)]


@contextmanager
def _opened(array: Array) -> Iterator[h5py.Dataset]:
    """Yield the dataset of an array.

    All sources of a virtual dataset are open meanwhile: HDF5 reads zeros, without an error, where it cannot open one,
    be it that too many files are open.
    """
    allow(len(array.sources))
    with ExitStack() as stack:
        file = stack.enter_context(open_hdf5(array.file, (array.path,)))
        for source in array.sources:
            stack.enter_context(open_hdf5(source))
        dataset = file[array.path]
        if isinstance(array, ImageArray) and (dataset.shape, dataset.dtype.str) != (array.shape, array.dtype):
            raise DataError(f"{array.file} has changed while it was read: start again when nobody writes it")
        yield dataset


def _samples(array: ImageArray, start: int, stop: int) -> tuple[slice, ...]:
    """Return the index of samples [start, stop) in an array as it is stored."""
    index = [slice(None)] * len(array.shape)
    index[array.axes.sample] = slice(start, stop)
    return tuple(index)


def read_labels(array: Array) -> np.ndarray:
    """Return labels as they are stored; rows are along the first axis unless the array is read whole."""
    with _opened(array) as dataset:
        _require_short(array, dataset.dtype.itemsize)
        along_last = len(array) == dataset.shape[-1] > dataset.shape[0]
        labels = dataset[()] if along_last else dataset[array.start : array.stop]
    if labels.dtype.hasobject:
        _require_short(array, max(map(len, labels.flat), default=0))
    return labels


def _require_short(array: Array, size: int) -> None:
    """Raise DataError for labels that are long text, of which comparisons make many copies; size: bytes of a label."""
    if size > LONGEST:
        found = f"{array.file}: {array.path} has labels of {size:,} bytes; at most {LONGEST:,} are read"
        raise DataError(f"{found}: store the names of classes alone")


def _step(dataset: h5py.Dataset, axis: int) -> int:
    """Return how many samples to read at a time: whole chunks of about PIECE bytes."""
    sample = dataset.dtype.itemsize * prod(dataset.shape) // dataset.shape[axis]
    chunk = dataset.chunks[axis] if dataset.chunks else 1
    return max(1, PIECE // max(1, sample) // chunk) * chunk
