"""Refuse chunks that hold fewer bytes than their shape says.

HDF5 (2.0 and before) does not compare the two: in place of what is missing it returns whatever lies in memory, another
each time. Here the sizes are compared where the filters are known. Data with other filters are read twice, while memory
is filled with other bytes.
"""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from math import prod
from typing import Any

import h5py
import numpy as np

from distcnn.data.stream.chunks import DEFLATE, SHUFFLE, decoded, filters_of

FLETCHER, SUM_BYTES = 3, 4  # HDF5's number of the filter that appends a checksum, and the size of that
M_PERTURB = -6  # of glibc's mallopt: fill new memory
SOME = 64  # chunks
PROBLEM = "a chunk holds fewer values than its shape says"


def read_all(dataset: h5py.Dataset, step: int, tick: Callable[[], object] = lambda: None) -> None:
    """Read all samples of a dataset and discard them; raise OSError or ValueError if a chunk is damaged.

    The file must have been opened without a cache of chunks, rdcc_nbytes=0.

    step: how many samples are read at a time.
    tick: called before some are read.
    """
    is_known = not dataset.chunks or has_known_filters(dataset)
    if dataset.chunks and is_known:
        require_full(dataset, tick)
    for start in range(0, len(dataset), step):
        tick()
        rows = slice(start, start + step)
        if is_known:
            dataset[rows]
        else:
            _read_twice(dataset, rows)


def has_known_filters(dataset: h5py.Dataset) -> bool:
    """Return whether `require_full` can tell how many bytes the chunks of a dataset hold."""
    numbers = [number for number, _ in filters_of(dataset)]
    sums = [k for k, number in enumerate(numbers) if number == FLETCHER]
    is_last = sums in ([], [len(numbers) - 1])
    return set(numbers) <= {DEFLATE, SHUFFLE, FLETCHER} and numbers.count(DEFLATE) <= 1 and is_last


def require_full(dataset: h5py.Dataset, tick: Callable[[], object] = lambda: None) -> None:
    """Raise OSError if a chunk of a dataset with known filters holds too few bytes, or ValueError for a damaged one.

    tick: called before some chunks are read.
    """
    filters = filters_of(dataset)
    size = prod(dataset.chunks) * dataset.id.get_type().get_size()
    for number, chunk in enumerate(_listed(dataset)):
        if number % SOME == 0:
            tick()
        kept = [each for k, each in enumerate(filters) if not chunk.filter_mask >> k & 1]
        sums = SUM_BYTES * any(each == FLETCHER for each, _ in kept)
        if not any(each == DEFLATE for each, _ in kept):
            if chunk.size < size + sums:
                raise OSError(PROBLEM)
        elif not (
            chunk.size == size and _is_at_the_edge(dataset, chunk.chunk_offset)
        ):  # may be unfiltered there
            _, stored = dataset.id.read_direct_chunk(chunk.chunk_offset)
            decoded(stored[: len(stored) - sums], [each for each in kept if each[0] != FLETCHER], 0, size)


def _read_twice(dataset: h5py.Dataset, rows: slice) -> None:
    """Read some rows; raise OSError if they are not the same when memory was filled otherwise."""
    sums = []
    for byte in (0x55, 0xAA):
        _fill_memory(byte)
        found = dataset[rows]
        sums.append(None if found.dtype.hasobject else zlib.crc32(np.ascontiguousarray(found).data))
        del found
    _fill_memory(0)
    if sums[0] != sums[1]:
        raise OSError(PROBLEM)


def _listed(dataset: h5py.Dataset) -> Iterator[Any]:
    """Yield the address, size and mask of each chunk."""
    if hasattr(dataset.id, "chunk_iter"):
        found: list[Any] = []
        dataset.id.chunk_iter(found.append)
        yield from found
    else:
        yield from map(dataset.id.get_chunk_info, range(dataset.id.get_num_chunks()))


def _is_at_the_edge(dataset: h5py.Dataset, offset: tuple[int, ...]) -> bool:
    """Return whether a chunk reaches beyond the end of a dataset."""
    ends = zip(offset, dataset.chunks, dataset.shape, strict=True)
    return any(first + extent > size for first, extent, size in ends)


def _fill_memory(byte: int) -> None:
    """Let the system's allocator fill all memory that it gives, where it can; byte: 0 to end that."""
    with suppress(OSError, AttributeError, TypeError):  # of systems without glibc
        ctypes.CDLL(None).mallopt(M_PERTURB, byte)
