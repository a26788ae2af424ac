"""What a dataset's file must hold, and everything that can be wrong with it, each in a line with its remedy.

    /train/images   uint8 or float32 [n, c, h, w] or [n, h, w]
    /train/labels   integers [n]
    /test           the same, may be missing
    classes         attribute of the file, may be missing: the classes' names
    seal            attribute of /train, may be missing: proves samples and classes, see `fingerprint`

`problems` looks at types and shapes only, so that a wrong file costs milliseconds, whatever its size. The
checks yield what they find instead of raising it: training stops at the first problem, `info` shows them all.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import h5py
import numpy as np

from distcnn.data.classes import MAX_CLASSES, class_names
from distcnn.data.fingerprint import read_seal
from distcnn.data.hdf5_dataset import find_dataset
from distcnn.errors import DataError

SPLITS = ("train", "test")  # that a file may hold; the validation split is cut from /train
MEMORY_LIMIT = 4 * 2**30  # bytes, decoded


@dataclass(frozen=True)
class Schema:
    """Types and shapes of a file's arrays as they will lie in memory, the classes' names and the seal."""

    images: dict[str, tuple[int, ...]]  # by split: (n, c, h, w)
    dtype: str  # of the images: "uint8" or "float32"
    classes: tuple[str, ...] | None
    seal: str | None = None


def schema_of(file: h5py.File) -> Schema:
    """Return a file's schema; raise DataError with the first problem, if there is one."""
    for problem in problems(file):
        raise DataError(f"{file.filename}: {' '.join(problem.split())}")  # a name in it may have line breaks
    shapes = {split: with_channels(file[split]["images"].shape) for split in SPLITS if split in file}
    return Schema(shapes, type_of(file["train/images"]), class_names(file), read_seal(file))


def with_channels(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of images as (n, c, h, w), where (n, h, w) has one channel."""
    return (shape[0], 1, *shape[1:]) if len(shape) == 3 else shape


def dataset_names(file: h5py.File) -> list[str]:
    """Return the names of the datasets that the file must hold: those of /test only if it has such a group."""
    members = list(file)  # `in file` misses broken links
    splits = [split for split in SPLITS if split == "train" or split in members]
    return [f"/{split}/{kind}" for split in splits for kind in ("images", "labels")]


def type_of(dataset: h5py.Dataset) -> str:
    """Return the name of a dataset's type, its byte order aside; "objects" if NumPy has no such numbers."""
    try:
        return dataset.dtype.name if dataset.dtype.kind in "uifb" else "objects"
    except TypeError:
        return "objects"


# ---- types and shapes ----


def problems(file: h5py.File) -> Iterator[str]:
    """Yield what is wrong with a file's types and shapes."""
    found = {}
    for name in dataset_names(file):
        try:
            found[name] = find_dataset(file, name)
            yield from dataset_problems(name, found[name])
        except DataError as error:
            yield str(error)
    yield from consistency_problems(found)
    for read in (class_names, read_seal):
        try:
            read(file)
        except DataError as error:
            yield str(error)


def dataset_problems(name: str, dataset: h5py.Dataset) -> Iterator[str]:
    """Yield what is wrong with the type and shape of images or labels by themselves."""
    return image_problems(name, dataset) if name.endswith("images") else label_problems(name, dataset)


def image_problems(name: str, images: h5py.Dataset) -> Iterator[str]:
    """Yield what is wrong with the type and shape of images."""
    dtype, shape = type_of(images), images.shape
    if dtype not in ("uint8", "float32"):
        yield f"{name} holds {dtype}; wanted uint8 or float32: {_pixel_remedy(dtype)}"
    if shape is None or len(shape) not in (3, 4):
        yield f"{name} has shape {shape}; wanted (n, c, h, w) or (n, h, w): reshape the images"
    elif shape[0] == 0:
        yield f"{name} holds no images: {'add some' if 'train' in name else 'leave the group /test out'}"
    elif 0 in shape:
        yield f"{name} has shape {shape}, images without a pixel; wanted (n, c, h, w): make the file anew"
    elif len(shape) == 4 and shape[3] <= 4 < min(shape[1:3]):
        yield (
            f"{name} has shape {shape}, which looks like channels last; wanted (n, c, h, w): "
            "transpose it with images.transpose(0, 3, 1, 2)"
        )


def _pixel_remedy(dtype: str) -> str:
    if dtype == "bool":
        return "convert them with images.astype('uint8')"
    if dtype.startswith("float"):
        return "convert them with images.astype('float32')"
    if dtype == "objects":
        return "decode the images into an array of numbers"
    return f"scale them, for example with (images / {np.iinfo(dtype).max}).astype('float32')"


def label_problems(name: str, labels: h5py.Dataset) -> Iterator[str]:
    """Yield what is wrong with the type and shape of labels."""
    dtype, shape = type_of(labels), labels.shape
    if dtype == "objects":
        yield f"{name} holds no numbers; wanted integers: store numbers, and names in the attribute classes"
    elif "int" not in dtype:
        yield f"{name} holds {dtype}; wanted integers: convert them with labels.astype('int32')"
    if shape is not None and len(shape) == 2 and shape[1] > 1:
        yield f"{name} has shape {shape}, which looks one-hot; wanted (n,): labels.argmax(axis=1)"
    elif shape is None or len(shape) != 1:
        yield f"{name} has shape {shape}; wanted (n,): labels.reshape(-1)"


def consistency_problems(found: dict[str, h5py.Dataset]) -> Iterator[str]:
    """Yield what does not fit together among datasets, each right by itself, or does not fit into memory."""
    shapes = {name: dataset.shape for name, dataset in found.items() if dataset.shape}
    for split in SPLITS:
        images, labels = (shapes.get(f"/{split}/{kind}", [None])[0] for kind in ("images", "labels"))
        if None not in (images, labels) and images != labels:
            yield f"/{split} holds {images} images and {labels} labels; wanted a label for each image: make it anew"
    if {"/train/images", "/test/images"} <= shapes.keys():
        train, test = (_kind_of(found[f"/{split}/images"]) for split in SPLITS)
        if train != test:
            yield f"/train/images are {train}, /test/images {test}: store both with one type and shape"
    size = sum(dataset.nbytes for dataset in found.values() if type_of(dataset) != "objects")
    if size > MEMORY_LIMIT:
        limit = f"{MEMORY_LIMIT / 2**30:.0f} GiB"
        yield f"{size / 2**30:.1f} GiB of samples; at most {limit}: streaming larger files is not there yet"


def _kind_of(images: h5py.Dataset) -> str:
    """Return type and shape of each image, in words."""
    return f"{type_of(images)} {' x '.join(map(str, images.shape[1:]))}"


# ---- values ----


def label_value_problem(name: str, labels: np.ndarray, classes: tuple[str, ...] | None) -> str | None:
    """Return what is wrong with the values of labels, or None.

    labels: [n], of any integer type
    classes: their names, or None where the file has none
    """
    limit = MAX_CLASSES if classes is None else len(classes)
    outside = (labels < 0) | (labels >= limit)
    if not outside.any():
        return None
    first = int(outside.argmax())
    found = f"{name}[{first}] is {labels[first]}"
    if classes is None or labels[first] < 0:
        return f"{found}; wanted 0 to {limit - 1}: number the classes from 0"
    named = f"the attribute classes names {limit}, 0 to {limit - 1}"
    return f"{found}, but {named}: count from 0, or name them all"


def pixel_value_problem(name: str, images: np.ndarray) -> str | None:
    """Return what is wrong with the pixels of images [n, c, h, w], or None."""
    if images.dtype.kind != "f":
        return None
    extremes = [images.min(), images.max()]  # both are NaN if any pixel is
    if np.isfinite(extremes).all():
        return None
    first, image = next((i, image) for i, image in enumerate(images) if not np.isfinite(image).all())
    value = image[~np.isfinite(image)][0]
    found = f"{name}[{first}] has a pixel that is {value}"
    return f"{found}; wanted finite numbers: repair or leave out such images"
