"""Encode images as the chunks of an HDF5 dataset, outside of HDF5, so that many processes can do it at once."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from distcnn.data.packing.content import Piece, Rows, row_bytes
from distcnn.data.stream.units import unit_rows
from distcnn.errors import DataError

PIECE = 2**24  # bytes of images, roughly, that are read and encoded at a time


@dataclass(frozen=True)
class Storage:
    """How images are stored.

    rows: of a chunk.
    level: of gzip, 1 to 9; 0 to store them as they are.
    """

    rows: int
    level: int

    @classmethod
    def of(cls, images: Rows, chunk_bytes: int | None, level: int) -> Storage:
        """Return the storage for images.

        chunk_bytes: of a chunk before it is compressed, at most, if that is one image or more; None: a chunk is a unit
            of stream mode, the same as in a contiguous file.
        """
        if chunk_bytes is None:
            return cls(unit_rows(images.count, row_bytes(images), 1), level)
        most = min(images.count, max(1, chunk_bytes // row_bytes(images)))
        return cls(1 << most.bit_length() - 1, level)


@dataclass(frozen=True)
class Job:
    """Images to encode, and how."""

    piece: Piece
    storage: Storage


Chunks = list[bytes]


def encode(job: Job) -> Chunks | DataError:
    """Return the chunks of a piece, or what is wrong with it; this is the function that processes and ranks call."""
    try:
        images = np.ascontiguousarray(job.piece.read())
    except DataError as error:
        return error
    rows = job.storage.rows
    return [_encoded(images[first : first + rows], job.storage) for first in range(0, len(images), rows)]


def _encoded(images: np.ndarray, storage: Storage) -> bytes:
    """Return one chunk; if it has too few images, as the last one may, zeros fill it."""
    values = images.tobytes() + bytes(images[0].nbytes * (storage.rows - len(images)))
    if not storage.level:
        return values
    return _compress(_shuffled(values, images.dtype.itemsize), storage.level)


def _shuffled(values: bytes, width: int) -> bytes:
    """Return elements of `width` bytes as first all first bytes, then all second bytes, ..., as HDF5's filter does."""
    if width == 1:
        return values
    return np.ascontiguousarray(np.frombuffer(values, np.uint8).reshape(-1, width).T).tobytes()


def _compressor() -> Callable[[bytes, int], bytes]:
    """Return a function of (bytes, level) that compresses in zlib's format: libdeflate's where it is installed."""
    try:
        from deflate import zlib_compress
    except ImportError:
        return zlib.compress
    return lambda values, level: bytes(zlib_compress(values, level))


_compress = _compressor()
