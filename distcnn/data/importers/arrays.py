"""Arrays of images and of labels, from NumPy, MATLAB and HDF5: which they are, and what their axes and values mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from distcnn.config.tasks import TASKS
from distcnn.config.types import AUTO, CLASSIFY
from distcnn.data.axes import Axes, find_axes, given_axes, parse_axes
from distcnn.data.importers.array_choice import Chosen, choose, in_file, other_file
from distcnn.data.importers.array_files import Stored, is_array_file, stored_arrays
from distcnn.data.importers.encoded_arrays import decoded, is_encoded
from distcnn.data.importers.folder_names import is_image
from distcnn.data.importers.hdf5_arrays import in_place, is_hdf5
from distcnn.data.importers.importer import Importer, Options, Source, of_pictures
from distcnn.data.importers.notes import few
from distcnn.data.importers.writer import Pair, Samples
from distcnn.data.label_task import understand_task
from distcnn.data.schema import MEMORY_LIMIT, pixel_value_problem
from distcnn.errors import ConfigError, DataError

OWN = tuple(f".h5/{split}/images" for split in ("train", "test", "validation"))  # of distcnn's own layout
MATLAB = {4: Axes("HWCN"), 3: Axes("HWN")}  # where samples are the last axis: MATLAB counts rows first


def recognizes(source: Source) -> bool:
    """Return whether a source holds files of arrays, and no image files, beside which they would hold labels."""
    return any(map(is_array_file, source.names)) and not any(map(is_image, source.names))


def read_arrays(source: Source, options: Options) -> Samples:
    """Return the samples in files of arrays; raise DataError if it is open what an array holds."""
    where = str(source.path)
    with ExitStack() as stack:
        arrays = {each.name: each for each in _arrays(source, options, stack)}
        shapes = {name: each.shape for name, each in arrays.items()}
        chosen = choose(where, shapes, options.images, options.labels)
        if chosen.ignored:
            options.note(f"not used: {few(chosen.ignored)}")
        labels = {split: arrays[name].read() for split, (_, name) in chosen.splits.items() if name}
        images: dict[str, np.ndarray] = {}
        for split, (name, _) in chosen.splits.items():
            like = next(iter(images.values())).shape[1:] if images else None
            images[split] = _images(where, arrays[name], labels.get(split), like, options)
            _require_memory(where, images)
        return _samples(where, chosen, arrays, images, labels, options)


def _arrays(source: Source, options: Options, stack: ExitStack) -> Iterator[Stored]:
    """Yield the arrays of a source, and those that the options name in other files, FILE:/path."""
    named = [name for name in (options.images, options.labels) if name is not None]
    yield from stored_arrays(source, stack, named)
    for name in named:
        if file := other_file(name):
            found = in_file(name)
            yield from (each for each in stored_arrays(Source(file), stack, named) if each.name == found)


def _images(
    where: str, stored: Stored, labels: np.ndarray | None, like: tuple[int, ...] | None, options: Options
) -> np.ndarray:
    """Return images as uint8 or float32 [n, c, h, w].

    labels: those of the same split, by whose number the axis of samples is known
    like: the shape (c, h, w) of the images of another split
    """
    if is_encoded(stored.dtype):
        return decoded(where, stored.name, stored.read(), options)
    if option := of_pictures(options):
        raise DataError(
            f"{where}: {stored.name} holds no image files, so {option} does not apply; leave it out"
        )
    n = labels.size if labels is not None and labels.size in labels.shape else None
    axes = _axes(stored, n, like, options)
    size = int(np.prod(stored.shape)) * (1 if stored.dtype.kind in "b" or stored.dtype == np.uint8 else 4)
    if size > MEMORY_LIMIT:
        limit = f"{size / 2**30:.1f} GiB of images; at most {MEMORY_LIMIT >> 30} GiB"
        remedy = in_place(where) if Path(where).is_file() and is_hdf5(Path(where)) else "import fewer"
        raise DataError(f"{where}: {stored.name} has {limit}: {remedy}")
    return _pixels(where, stored.name, axes, stored.read(), options)


def _axes(stored: Stored, n: int | None, like: tuple[int, ...] | None, options: Options) -> Axes:
    """Return the axes of an array of images."""
    if options.layout is not None:
        try:
            return given_axes(stored.name, stored.shape, parse_axes(options.layout))
        except ValueError as error:
            raise ConfigError(f"--layout {error}") from None
    shape = stored.shape
    if stored.is_matlab and len(shape) in MATLAB and n not in (None, shape[0]) and shape[-1] == n:
        return MATLAB[len(shape)]
    return find_axes(stored.name, shape, n, stored.name.endswith(OWN), like)


def _pixels(where: str, name: str, axes: Axes, stored: np.ndarray, options: Options) -> np.ndarray:
    """Return stored images as uint8 or float32 [n, c, h, w]; bytes stay bytes, and False and True become 0 and 255."""
    if stored.dtype.kind not in "uifb":
        raise DataError(
            f"{where}: {name} holds {stored.dtype}; wanted numbers, or encoded images: name another array"
        )
    turned = axes.turned(stored)
    if turned.dtype.kind == "b":
        return np.multiply(turned, 255, dtype=np.uint8, order="C")
    if turned.dtype == np.uint8:
        return np.ascontiguousarray(turned)
    if turned.dtype != np.float32:
        options.note(f"{name} holds {stored.dtype.name}: its values become float32 as they are")
    with np.errstate(over="ignore"):  # what exceeds float32 becomes infinite, and is refused then
        found = np.ascontiguousarray(turned, np.float32)
    if problem := pixel_value_problem(name, found):
        raise DataError(f"{where}: {problem}")
    return found


def _require_memory(where: str, images: Mapping[str, np.ndarray]) -> None:
    """Raise DataError if the images of all splits differ, or are too many."""
    first, *others = images.values()
    for other in others:
        if (other.shape[1:], other.dtype) != (first.shape[1:], first.dtype):
            both = f"{first.dtype} {first.shape[1:]} and {other.dtype} {other.shape[1:]}"
            raise DataError(f"{where}: its splits have images {both}: store all with one type and shape")
    if sum(each.nbytes for each in images.values()) > MEMORY_LIMIT:
        raise DataError(f"{where} has images of more than {MEMORY_LIMIT >> 30} GiB: import fewer")


def _samples(
    where: str,
    chosen: Chosen,
    arrays: Mapping[str, Stored],
    images: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    options: Options,
) -> Samples:
    """Return samples with labels as training sees them."""
    names = {split: str(name) for split, (_, name) in chosen.splits.items() if name}
    counts = {names[split]: len(images[split]) for split in names}
    by_name = {names[split]: array for split, array in labels.items()}
    try:
        from_one = options.task in (AUTO, CLASSIFY) and _begin_at_one(by_name)
        mapped = from_one or options.map_labels
        coding = understand_task(options.task, by_name, counts, _class_names(chosen, arrays), mapped)
        if from_one:
            options.note("labels begin at 1: the number of a class is one less, and its name is the label")
        splits: dict[str, Pair] = {}
        for split, pixels in images.items():
            name = names.get(split)
            numbers = coding.numbers(name, labels[split], len(pixels)) if name else None
            splits[split] = pixels, None if numbers is None else numbers.astype(TASKS[coding.task].dtype)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    return Samples(splits, coding.classes or _numbered(splits), task=coding.task)


def _begin_at_one(labels: Mapping[str, np.ndarray]) -> bool:
    """Return whether labels are numbers from 1 without a gap, as MATLAB's users count."""
    if any(array.dtype.kind not in "uif" or array.size not in array.shape for array in labels.values()):
        return False
    values = set().union(*(np.unique(array).tolist() for array in labels.values()))
    return len(values) > 1 and values == set(range(1, len(values) + 1))


def _class_names(chosen: Chosen, arrays: Mapping[str, Stored]) -> tuple[str, ...] | None:
    """Return the names of the classes, if an array of text holds them."""
    if chosen.classes is None:
        return None
    found = arrays[chosen.classes].read().reshape(-1).tolist()
    texts = [name.decode(errors="replace") if isinstance(name, bytes) else name for name in found]
    return tuple(texts) if texts and all(isinstance(name, str) for name in texts) else None


def _numbered(splits: Mapping[str, Pair]) -> tuple[str, ...]:
    """Return the numbers of the classes as their names."""
    most = max(int(labels.max()) for _, labels in splits.values() if labels is not None)
    return tuple(map(str, range(most + 1)))


IMPORTER = Importer(
    title="arrays of NumPy, MATLAB and HDF5",
    wanted="an .npz, .npy, .mat or .h5 file of images and labels",
    recognizes=recognizes,
    read=read_arrays,
    has_image_files=True,
)
