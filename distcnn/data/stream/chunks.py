"""Find and decode the chunks of HDF5 datasets without HDF5.

`deflate` (libdeflate) unpacks 490 to 1,266 MB/s a thread, HDF5 itself 285 to 366. Without that package zlib does it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import h5py
import numpy as np

from distcnn.errors import DataError

DEFLATE, SHUFFLE = 1, 2  # HDF5's numbers of filters
SLACK = 2**12  # bytes by which filters may enlarge a chunk, besides a sixteenth

Filters = Sequence[tuple[int, int]]  # (number, first parameter) of each filter, in the order of writing
Buffer = bytes | bytearray | memoryview


def is_plain(dataset: h5py.Dataset) -> bool:
    """Return whether the bytes in the file can be decoded without HDF5."""
    if dataset.file.userblock_size or not dataset.id.get_type().equal(h5py.h5t.py_create(dataset.dtype)):
        return False  # offsets are not those in the file, or HDF5 would convert each element
    if dataset.chunks:
        numbers = [number for number, _ in filters_of(dataset)]
        known = set(numbers) <= {DEFLATE, SHUFFLE} and numbers.count(DEFLATE) <= 1
        return known and hasattr(dataset.id, "chunk_iter")
    return dataset.id.get_offset() is not None  # None for a compact dataset


def filters_of(dataset: h5py.Dataset) -> list[tuple[int, int]]:
    """Return (number, first parameter) of each filter of a dataset, in the order of writing."""
    storage = dataset.id.get_create_plist()
    found = map(storage.get_filter, range(storage.get_nfilters()))
    return [(number, values[0] if values else 0) for number, _, values, _ in found]


def places(dataset: h5py.Dataset, file_bytes: int) -> np.ndarray:
    """Return (offset, size, filter mask) of each chunk, int64 [chunks of each axis, 3].

    They are listed once, because HDF5 takes long to look one up.

    file_bytes: the size of the file.

    Raises DataError if chunks are missing or lie outside of the file.
    """
    grid = tuple(-(-size // chunk) for size, chunk in zip(dataset.shape, dataset.chunks, strict=True))
    rows: list[tuple[int, ...]] = []
    dataset.id.chunk_iter(
        lambda chunk: rows.append((*chunk.chunk_offset, chunk.byte_offset, chunk.size, chunk.filter_mask))
    )
    listed = np.array(rows, np.uint64).reshape(-1, len(grid) + 3)
    cells, (offset, size) = listed[:, : len(grid)] // np.array(dataset.chunks, np.uint64), listed[:, -3:-1].T
    whole = int(np.prod(dataset.chunks)) * dataset.dtype.itemsize
    sound = (cells < grid).all(axis=1) & (offset > 0) & (offset <= file_bytes) & (offset + size <= file_bytes)
    sound &= (size > 0) & (size <= whole + whole // 16 + SLACK)
    found = np.zeros((*grid, 3), np.int64)
    if sound.all():
        found[tuple(cells.T.astype(np.int64))] = listed[:, -3:]
    if not found[..., 1].all():
        name = f"{dataset.file.filename}: {dataset.name}"
        raise DataError(f"{name} is damaged, or was not written completely: create the file again")
    return found


def decoded(stored: Buffer, filters: Filters, mask: int, size: int) -> Buffer:
    """Return the bytes of a chunk as they were before the filters.

    stored: the bytes in the file.
    filters: of the dataset.
    mask: bit k is set if filter k was left out for this chunk.
    size: the number of bytes of a decoded chunk.

    Raises ValueError for a damaged chunk.
    """
    found = stored
    for place, (number, parameter) in reversed([*enumerate(filters)]):
        if not mask >> place & 1:
            found = _inflated(found, size) if number == DEFLATE else _unshuffled(found, parameter)
    if len(found) != size:
        raise ValueError(f"a chunk has {len(found)} bytes, wanted {size}")
    return found


def _inflated(packed: Buffer, size: int) -> Buffer:
    try:
        return _inflate(packed, size)
    except MemoryError:
        raise
    except Exception as error:  # zlib.error, or DeflateError of the package that may be missing
        raise ValueError(f"a chunk cannot be unpacked: {error}") from None


def _unshuffled(shuffled: Buffer, width: int) -> Buffer:
    """Return elements of `width` bytes, of which first all first bytes were stored, then all second bytes, ..."""
    count = len(shuffled) // max(width, 1)
    if width <= 1 or count <= 1:
        return shuffled
    planes = np.frombuffer(shuffled, np.uint8, count * width).reshape(width, count)
    return planes.T.tobytes() + bytes(shuffled[count * width :])


def _inflate_by_zlib(packed: Buffer, size: int) -> bytes:
    stream = zlib.decompressobj()
    found = stream.decompress(packed, size + 1)
    if not stream.eof:
        raise ValueError("it is too short or too long")
    return found


def _inflater() -> Callable[[Buffer, int], Buffer]:
    """Return a function of (packed, size) that unpacks zlib's format, if the result has at most about `size` bytes."""
    try:
        from deflate import zlib_decompress
    except ImportError:
        return _inflate_by_zlib
    return zlib_decompress


_inflate = _inflater()
