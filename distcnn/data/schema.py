"""The required content of a dataset's file, and checks for everything that can be wrong with it.

    /train/images   uint8 or float32 [n, c, h, w] or [n, h, w]
    /train/labels   integers [n]
    /test           like /train; optional
    classes         attribute of the file: the names of the classes; optional
    seal            attribute of /train: proves that samples and classes have not changed; optional

Each problem is a line of text that includes a remedy. `problems` reads only types and shapes, so that a wrong file is
found in milliseconds, whatever its size. The checks yield problems instead of raising an exception: training stops at
the first problem, but `info` shows all of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import h5py
import numpy as np

from distcnn.data.classes import MAX_CLASSES, class_names
from distcnn.data.fingerprint import read_seal
from distcnn.data.hdf5_dataset import find_dataset
from distcnn.errors import DataError

SPLITS = ("train", "test")  # the groups in a file; the validation split is made from /train
# Bytes of decoded images that are read into memory. It must never change, as larger files are streamed, which gives
# another order of samples.
MEMORY_LIMIT = 4 * 2**30


@dataclass(frozen=True)
class Schema:
    """The types and shapes that the arrays of a file will have in memory, the names of the classes, and the seal."""

    images: dict[str, tuple[int, ...]]  # by split: (n, c, h, w)
    dtype: str  # of the images: "uint8" or "float32"
    classes: tuple[str, ...] | None
    seal: str | None = None

    @property
    def image_bytes(self) -> int:
        """The number of bytes of all images in memory."""
        return sum(map(prod, self.images.values())) * np.dtype(self.dtype).itemsize


def schema_of(file: h5py.File) -> Schema:
    """Return the schema of a file; raise DataError with the first problem, if there is one."""
    for problem in problems(file):
        raise DataError(f"{file.filename}: {' '.join(problem.split())}")  # a name in it may have line breaks
    shapes = {split: with_channels(file[split]["images"].shape) for split in SPLITS if split in file}
    return Schema(shapes, type_of(file["train/images"]), class_names(file), read_seal(file))


def with_channels(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of images as (n, c, h, w); the shape (n, h, w) means one channel."""
    return (shape[0], 1, *shape[1:]) if len(shape) == 3 else shape


def dataset_names(file: h5py.File) -> list[str]:
    """Return the paths of the datasets that the file must have; those in /test only if that group exists."""
    members = list(file)  # `in file` misses broken links
    splits = [split for split in SPLITS if split == "train" or split in members]
    return [f"/{split}/{kind}" for split in splits for kind in ("images", "labels")]


def type_of(dataset: h5py.Dataset) -> str:
    """Return the name of a dataset's type, without its byte order; "objects" if it is not a NumPy type of numbers."""
    try:
        return dataset.dtype.name if dataset.dtype.kind in "uifb" else "objects"
    except TypeError:
        return "objects"


# ---- types and shapes ----


def problems(file: h5py.File) -> Iterator[str]:
    """Yield what is wrong with the types and shapes in a file."""
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
    """Yield what is wrong with the type and shape of one dataset, of images or of labels."""
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
        yield f"{name} has shape {shape}, images without pixels; wanted (n, c, h, w): create the file again"
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
    """Yield which datasets are not consistent with each other."""
    shapes = {name: dataset.shape for name, dataset in found.items() if dataset.shape}
    for split in SPLITS:
        images, labels = (shapes.get(f"/{split}/{kind}", [None])[0] for kind in ("images", "labels"))
        if None not in (images, labels) and images != labels:
            yield f"/{split} holds {images} images and {labels} labels; wanted equal numbers: create it again"
    if {"/train/images", "/test/images"} <= shapes.keys():
        train, test = (_kind_of(found[f"/{split}/images"]) for split in SPLITS)
        if train != test:
            yield f"/train/images are {train}, /test/images {test}: store both with one type and shape"


def _kind_of(images: h5py.Dataset) -> str:
    """Return the type and shape of each image, as text."""
    return f"{type_of(images)} {' x '.join(map(str, images.shape[1:]))}"


# ---- values ----


def label_value_problem(name: str, labels: np.ndarray, classes: tuple[str, ...] | None) -> str | None:
    """Return what is wrong with the values of labels, or None.

    name: the path of the dataset, for the message.
    labels: [n], of any integer type.
    classes: the names of the classes, or None if the file has none.
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
    return f"{found}, but {named}: count from 0, or name all classes"


def pixel_value_problem(name: str, images: np.ndarray, number: int = 0) -> str | None:
    """Return what is wrong with the pixels of images [n, c, h, w], or None.

    name: the path of the dataset, for the message.
    number: that of the first of the images in the dataset.
    """
    if images.dtype.kind != "f":
        return None
    extremes = [images.min(), images.max()]  # both are NaN if any pixel is
    if np.isfinite(extremes).all():
        return None
    first, image = next((i, image) for i, image in enumerate(images) if not np.isfinite(image).all())
    value = image[~np.isfinite(image)][0]
    found = f"{name}[{number + first}] has a pixel that is {value}"
    return f"{found}; wanted finite numbers: repair or leave out such images"
