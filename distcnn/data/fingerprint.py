"""The fingerprint of a dataset, a SHA-256 over its arrays, and the seal, which proves that a file has not changed."""

import hashlib
from collections.abc import Iterable

import h5py
import numpy as np

from distcnn.errors import DataError

REMEDY = "copy the file again, or, if it was changed on purpose, remove that attribute"


Piecewise = tuple[
    str, np.dtype, tuple[int, ...], Iterable[np.ndarray]
]  # an array: name, type, shape, its rows in pieces


def digest(arrays: dict[str, np.ndarray]) -> bytes:
    """Return the SHA-256 over the names, types, shapes and values (little-endian) of arrays, in their order."""
    return digest_of((name, array.dtype, array.shape, [array]) for name, array in arrays.items())


def digest_of(arrays: Iterable[Piecewise]) -> bytes:
    """Return the digest of arrays that come in pieces, which may be too large for memory."""
    total = hashlib.sha256()
    for name, dtype, shape, pieces in arrays:
        total.update(f"{name} {dtype.name} {shape}\n".encode())
        for piece in pieces:
            total.update(np.ascontiguousarray(piece, dtype.newbyteorder("<")).data)
    return total.digest()


def seal(fingerprint: str, classes: tuple[str, ...] | None) -> str:
    """Return the seal of a file: a SHA-256, in hex, over the fingerprint and the names of the classes."""
    return hashlib.sha256("\0".join([fingerprint, *(classes or ())]).encode()).hexdigest()


def read_seal(file: h5py.File) -> str | None:
    """Return the attribute `seal` of /train in a file, or None if there is none; raise DataError if it is not text."""
    found = file["train"].attrs.get("seal") if "train" in file else None
    if found is not None and not isinstance(found, str):
        raise DataError(f"the attribute seal of /train is damaged: {REMEDY}")
    return found
