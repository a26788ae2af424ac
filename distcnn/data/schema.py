"""What can be wrong with the types, shapes and pixels of a dataset, each problem a line of text with a remedy.

    /train/images   numbers [n, c, h, w] or [n, h, w], or with other axes
    /train/labels   [n], see `labels`
    /test, /validation   like /train; optional
    classes         attribute of the file: the names of the classes; optional
    seal            attribute of /train: proves that samples and classes have not changed; optional

These are distcnn's own names; `choice` finds others. Types and shapes are checked before anything is read, so that a
wrong file is found in milliseconds, whatever its size.
"""

from __future__ import annotations

from collections.abc import Iterator

import h5py
import numpy as np

from distcnn.data.description import FLOATS, INTEGERS, ImageArray, SplitArrays
from distcnn.data.survey import OBJECTS, TEXT, type_of

# Bytes of decoded images that are read into memory. It must never change, as larger files are streamed, which gives
# another order of samples.
MEMORY_LIMIT = 4 * 2**30


def image_problem(name: str, split: str, images: h5py.Dataset) -> str | None:
    """Return what is wrong with the type and shape of images, whatever their axes are, or None."""
    dtype, shape = type_of(images), images.shape
    table = table_problem(name, images)
    if table:
        return table
    if dtype in (TEXT, OBJECTS):
        remedy = "decode the images into an array of numbers, as python -m distcnn.data import does with JPEG and PNG"
        return f"{name} holds {dtype}; wanted numbers: {remedy}"
    if dtype not in ("uint8", "bool", *INTEGERS, *FLOATS):
        return f"{name} holds {dtype}; wanted whole numbers or floats of up to 64 bits: convert the images"
    if not shape:
        return f"{name} has shape {shape}; wanted (n, c, h, w) or (n, h, w): reshape the images"
    if shape[0] == 0:
        empty = f"the group /{split}" if name == f"/{split}/images" else name
        others = f"leave {empty} out, or name the training arrays alone, with --images and --labels"
        return f"{name} holds no images: {'add some' if split == 'train' else others}"
    if 0 in shape:
        return f"{name} has shape {shape}, images without pixels; wanted (n, c, h, w): create the file again"
    return None


def table_problem(name: str, dataset: h5py.Dataset) -> str | None:
    """Return what is wrong with a dataset whose elements have several fields, or None if it is no such dataset."""
    try:
        fields = dataset.dtype.names
    except TypeError:  # a type that NumPy does not have
        return None
    if not fields:
        return None
    found = f"{name} is a table with the fields {', '.join(fields[:8])}"
    return f"{found}; wanted an array: store a field on its own, such as file['new'] = file['{name}']['{fields[0]}']"


def consistency_problems(splits: dict[str, SplitArrays]) -> Iterator[str]:
    """Yield which arrays are not consistent with each other."""
    for split, arrays in splits.items():
        labels = sum(map(len, arrays.labels))
        if arrays.labels and arrays.images and len(arrays) != labels:
            yield f"/{split} holds {len(arrays)} images and {labels} labels; wanted equal numbers: create it again"
    images = [(split, each) for split, arrays in splits.items() for each in arrays.images]
    for split, each in images[1:]:
        first_split, first = images[0]
        if (each.image, each.scale) != (first.image, first.scale):
            names = (
                [f"/{first_split}/images", f"/{split}/images"]
                if split != first_split
                else [first.path, each.path]
            )
            found = f"{names[0]} are {_kind_of(first)}, {names[1]} {_kind_of(each)}"
            yield f"{found}: store both with one type and shape"
            break


def _kind_of(images: ImageArray) -> str:
    """Return the type and shape of each image, as text."""
    return f"{images.pixels} {' x '.join(map(str, images.image))}"


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
