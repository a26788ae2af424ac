"""What identifies a dataset: a SHA-256 over its arrays, and the seal that proves that a file has not changed."""

import hashlib

import h5py
import numpy as np

from distcnn.errors import DataError

REMEDY = "copy the file again, or, if it was changed on purpose, remove that attribute"


def digest(arrays: dict[str, np.ndarray]) -> bytes:
    """Return the SHA-256 over names, types, shapes and values of arrays, in order, little-endian."""
    total = hashlib.sha256()
    for name, array in arrays.items():
        total.update(f"{name} {array.dtype.name} {array.shape}\n".encode())
        total.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data)
    return total.digest()


def seal(fingerprint: str, classes: tuple[str, ...] | None) -> str:
    """Return what proves samples and classes: a SHA-256, in hex, over the fingerprint and the classes' names."""
    return hashlib.sha256("\0".join([fingerprint, *(classes or ())]).encode()).hexdigest()


def read_seal(file: h5py.File) -> str | None:
    """Return a file's seal, or None; an attribute of /train, as those of the file hold the classes that it proves."""
    found = file["train"].attrs.get("seal") if "train" in file else None
    if found is not None and not isinstance(found, str):
        raise DataError(f"the attribute seal of /train is damaged: {REMEDY}")
    return found
