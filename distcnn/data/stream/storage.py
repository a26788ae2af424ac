"""Rows of one HDF5 dataset, read where they lie in the file, or through HDF5 where only HDF5 can decode them.

Reading goes around HDF5 where possible, because all calls of h5py wait for one lock, also those of the thread that
writes checkpoints. Files are not mapped: if a mapped file is truncated, the process is killed.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from math import prod
from pathlib import Path

import h5py
import numpy as np

from distcnn.data.hdf5_file import open_hdf5
from distcnn.data.stream import chunks
from distcnn.errors import DataError

ADVISE = getattr(os, "posix_fadvise", None)  # not on all systems
AT_ONCE = getattr(os, "RWF_NOWAIT", None)  # read what is in memory alone; not on all systems
COLD = 64  # reads, from one that waited for the disk on, after which the next ones are taken to be in memory


class Storage(ABC):
    """The rows of a dataset.

    path: of the file.
    shape: of the dataset.
    dtype: of its elements, as they are stored.
    row_bytes: the number of bytes of a decoded row.
    chunk_rows: the number of rows of a chunk; 1 if the dataset has no chunks.
    bytes_read: how many bytes of the file were read so far; of rows that HDF5 reads, how many they have when decoded.
    cold: whether one of the last reads had to wait for the disk, so that `advise` is of use.
    """

    def __init__(self, path: Path, dataset: h5py.Dataset):
        self.path, self.shape, self.dtype = path, dataset.shape, dataset.dtype
        self.chunk_rows = min(dataset.chunks[0], len(dataset)) if dataset.chunks else 1
        self.row_bytes = prod(self.shape[1:]) * self.dtype.itemsize
        self.bytes_read, self._since_cold = 0, 0
        self._descriptor = _descriptor(path, dataset.file)
        self._state = self._current_state()

    @property
    def cold(self) -> bool:
        return self._since_cold < COLD

    def read(self, start: int, stop: int, out: np.ndarray, check: bool = True) -> None:
        """Read rows.

        start, stop: the first row, and the one after the last.
        out: [stop - start, ...] in the shape and type of the dataset, contiguous, overwritten.
        check: whether to call `require_unchanged`; if not, that must be done before the rows are used.

        Raises DataError if the file is damaged or has changed since it was opened.
        """
        try:
            self._read(start, stop, out)
        except (OSError, RuntimeError, KeyError, ValueError) as error:  # of HDF5 and of the file system
            self.require_unchanged()
            reason = " ".join(str(error).split())
            raise DataError(f"{self.path}: damaged, or its disk fails: copy it again ({reason})") from error
        if check:
            self.require_unchanged()

    def require_unchanged(self) -> None:
        """Raise DataError if the file has changed since it was opened."""
        if self._current_state() != self._state:
            remedy = "restore it and start again; a training continues with --resume auto"
            raise DataError(f"{self.path}: was changed or truncated while it was in use: {remedy}")

    def advise(self, start: int, stop: int) -> None:
        """Let the system begin to read rows [start, stop) from the disk."""
        if ADVISE:
            for offset, size in self._extents(start, stop):
                with suppress(OSError):
                    ADVISE(self._descriptor, offset, size, os.POSIX_FADV_WILLNEED)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    @abstractmethod
    def _read(self, start: int, stop: int, out: np.ndarray) -> None:
        """Do what `read` says; raise OSError, RuntimeError, KeyError or ValueError if that fails."""

    @abstractmethod
    def _extents(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yield (offset, size) of the bytes of the file that rows [start, stop) need, as far as they are known."""

    def _fill(self, buffer: memoryview, offset: int) -> None:
        """Read bytes of the file from an offset on; raise OSError if there are too few."""
        self.bytes_read += len(buffer)
        done = self._in_memory(buffer, offset)
        self._since_cold = self._since_cold + 1 if done == len(buffer) else 0
        while done < len(buffer):
            count = os.preadv(self._descriptor, [buffer[done:]], offset + done)
            if not count:
                raise OSError("the file ends too early")
            done += count

    def _in_memory(self, buffer: memoryview, offset: int) -> int:
        """Read bytes of the file as far as the system has them in memory; return their number."""
        if AT_ONCE is None:
            return 0
        try:
            return os.preadv(self._descriptor, [buffer], offset, AT_ONCE)
        except OSError:  # the first ones are not there, or the file system cannot tell, or the disk fails
            return 0

    def _current_state(self) -> tuple[int, int]:
        status = os.fstat(self._descriptor)
        return status.st_size, status.st_mtime_ns


class LibraryStorage(Storage):
    """The rows of a dataset that HDF5 reads, by filters or in types that only HDF5 decodes."""

    def __init__(self, path: Path, dataset: h5py.Dataset, file: h5py.File):
        super().__init__(path, dataset)
        self._dataset, self._file = dataset, file

    def close(self) -> None:
        super().close()
        self._file.close()

    def _read(self, start: int, stop: int, out: np.ndarray) -> None:
        self._dataset.read_direct(out, np.s_[start:stop])
        self.bytes_read += out.nbytes

    def _extents(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        return iter(())


class ContiguousStorage(Storage):
    """The rows of a dataset that lie one after the other in the file."""

    def __init__(self, path: Path, dataset: h5py.Dataset):
        super().__init__(path, dataset)
        self._offset = dataset.id.get_offset()

    def _read(self, start: int, stop: int, out: np.ndarray) -> None:
        self._fill(out.data.cast("B"), self._offset + start * self.row_bytes)

    def _extents(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        yield self._offset + start * self.row_bytes, (stop - start) * self.row_bytes


class ChunkedStorage(Storage):
    """The rows of a dataset in chunks that can be decoded without HDF5.

    places: where the chunks are, see `chunks.places`.
    """

    def __init__(self, path: Path, dataset: h5py.Dataset, places: np.ndarray):
        super().__init__(path, dataset)
        self._chunk, self._filters, self._places = dataset.chunks, chunks.filters_of(dataset), places
        self._chunk_bytes = prod(self._chunk) * self.dtype.itemsize

    def _read(self, start: int, stop: int, out: np.ndarray) -> None:
        for cell in self._cells(start, stop):
            offset, size, mask = self._places[cell].tolist()
            stored = bytearray(size)
            self._fill(memoryview(stored), offset)
            found = chunks.decoded(stored, self._filters, mask, self._chunk_bytes)
            source, target = self._overlap(cell, start, stop)
            out[target] = np.frombuffer(found, self.dtype).reshape(self._chunk)[source]

    def _extents(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        for cell in self._cells(start, stop):
            offset, size, _ = self._places[cell].tolist()
            yield offset, size

    def _cells(self, start: int, stop: int) -> Iterator[tuple[int, ...]]:
        """Yield the indices of the chunks that contain rows [start, stop)."""
        rows = range(start // self._chunk[0], -(-stop // self._chunk[0]))
        return product(rows, *map(range, self._places.shape[1:-1]))

    def _overlap(
        self, cell: tuple[int, ...], start: int, stop: int
    ) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """Return the part of a chunk that belongs to rows [start, stop), and the part of the result that it fills."""
        limits = [(start, stop), *((0, size) for size in self.shape[1:])]
        source, target = [], []
        for index, extent, (low, high) in zip(cell, self._chunk, limits, strict=True):
            begin, end = max(index * extent, low), min((index + 1) * extent, high)
            source.append(slice(begin - index * extent, end - index * extent))
            target.append(slice(begin - low, end - low))
        return tuple(source), tuple(target)


def open_storage(path: Path, name: str) -> Storage:
    """Open a dataset that `find_dataset` accepts, by its name in the file; raise DataError if the file is damaged."""
    with open_hdf5(path, (f"/{name}",)) as file:
        dataset = file[name]
        if dataset.is_virtual:
            remedy = f"name its sources in its place, or store a copy with python -m distcnn.data pack {path} OUT.h5"
            raise DataError(f"{path}: /{name} is virtual; such datasets are not streamed: {remedy}")
        if chunks.is_plain(dataset):
            found = _plain(path, dataset)
            if _agrees(found, dataset):
                return found
            found.close()
        own = h5py.File(file.id.reopen())  # which stays open after this block
        return LibraryStorage(path, own[name], own)


def _plain(path: Path, dataset: h5py.Dataset) -> Storage:
    if not dataset.chunks:
        return ContiguousStorage(path, dataset)
    return ChunkedStorage(path, dataset, chunks.places(dataset, os.path.getsize(path)))


def _agrees(storage: Storage, dataset: h5py.Dataset) -> bool:
    """Return whether the last row has the same bytes as in HDF5, which may leave chunks at the edge unfiltered."""
    last = len(dataset) - 1
    ours, theirs = np.empty((2, 1, *dataset.shape[1:]), dataset.dtype)
    storage.read(last, last + 1, ours)
    dataset.read_direct(theirs, np.s_[last:])
    return ours.tobytes() == theirs.tobytes()


def _descriptor(path: Path, file: h5py.File) -> int:
    """Return a descriptor of an open file, which stays that of this file if another one is put in its place."""
    if file.driver == "sec2":  # HDF5's own way to read files
        return os.dup(file.id.get_vfd_handle())
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
