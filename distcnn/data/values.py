"""What can be wrong with the values of samples, each with its remedy, and the digest over all of them."""

import hashlib

import numpy as np

from distcnn.data.classes import MAX_CLASSES


def label_value_problem(name: str, labels: np.ndarray, classes: tuple[str, ...] | None) -> str | None:
    """Return what is wrong with integer labels [n], of any integer type."""
    limit = MAX_CLASSES if classes is None else len(classes)
    outside = (labels < 0) | (labels >= limit)
    if not outside.any():
        return None
    first = int(outside.argmax())
    found = f"{name}[{first}] is {labels[first]}"
    if classes is None or labels[first] < 0:
        return f"{found}; wanted 0 to {limit - 1}: number the classes from 0"
    return (
        f"{found}, but the attribute classes names {limit}, 0 to {limit - 1}: count from 0, or name them all"
    )


def pixel_value_problem(name: str, images: np.ndarray) -> str | None:
    """Return what is wrong with the pixels of images [n, c, h, w]."""
    if (
        images.dtype.kind != "f" or np.isfinite([images.min(), images.max()]).all()
    ):  # NaN is both, where there is one
        return None
    first, image = next((i, image) for i, image in enumerate(images) if not np.isfinite(image).all())
    value = image[~np.isfinite(image)][0]
    return (
        f"{name}[{first}] has a pixel that is {value}; wanted finite numbers: repair or leave out such images"
    )


def digest(arrays: dict[str, np.ndarray]) -> bytes:
    """Return the SHA-256 over names, types, shapes and values of arrays, in order, little-endian."""
    total = hashlib.sha256()
    for name, array in arrays.items():
        total.update(f"{name} {array.dtype.name} {array.shape}\n".encode())
        total.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data)
    return total.digest()
