"""Large arrays that all ranks read: one copy per node, in a file in memory that its ranks map."""

import mmap
import os
import shutil
import tempfile
from math import prod

import numpy as np

from distcnn.errors import DataError
from distcnn.parallel.agreement import on_all, on_root
from distcnn.parallel.world import node

MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else tempfile.gettempdir()
ALIGNMENT = 64  # bytes: a cache line, and an AVX-512 register


def share(comm, fields, fill) -> list[np.ndarray]:
    """Return read-only arrays that hold what `fill` has written, on every rank of `comm`.

    fields: (shape, dtype) of each array, the same on every rank.
    fill: called as `fill(*arrays)` by the first rank of each node, while the others sleep.

    Raises DataError on every rank when a node's shared memory is too small, or what `fill` raises.
    """
    local = node(comm)
    starts, size = _layout(fields)
    memory = on_all(comm, lambda: common_memory(local, size))
    places = zip(fields, starts, strict=True)
    arrays = [np.ndarray(shape, dtype, memory, start) for (shape, dtype), start in places]
    on_all(comm, lambda: on_root(local, lambda: fill(*arrays)))
    local.Free()
    for array in arrays:
        array.flags.writeable = False
    return arrays


def common_memory(local, size: int, all_write=False) -> mmap.mmap:
    """Return the same `size` bytes, 0 at first, on all ranks of a node; only the first may write, unless all may."""
    return _map(local, size, all_write) if local.size > 1 else mmap.mmap(-1, size)


def _layout(fields) -> tuple[list[int], int]:
    """Return where each array starts, in bytes, and how many bytes they need in all."""
    starts, size = [], 0
    for shape, dtype in fields:
        starts.append(size)
        size += -(-prod(shape) * np.dtype(dtype).itemsize // ALIGNMENT) * ALIGNMENT
    return starts, max(size, ALIGNMENT)


def _map(local, size: int, all_write: bool) -> mmap.mmap:
    """Map one file on all ranks of a node.

    It has lost its name when this returns, so its memory goes with the last rank, however that ends.
    """
    path = on_root(local, lambda: _reserve(size))
    access = mmap.ACCESS_WRITE if all_write or local.rank == 0 else mmap.ACCESS_READ
    try:
        return on_all(local, lambda: _open(path, size, access))
    finally:
        if local.rank == 0:
            os.unlink(path)


def _reserve(size: int) -> str:
    """Create a file that has all its memory, as a rank that later touched a missing page would be killed."""
    free = shutil.disk_usage(MEMORY).free
    if size > free:
        raise DataError(
            f"{MEMORY} has {free / 2**20:.0f} MiB free, but the data needs {size / 2**20:.0f} MiB: "
            "give the node more shared memory (docker run --shm-size), or run one rank there"
        )
    descriptor, path = tempfile.mkstemp(prefix=f"distcnn-{os.getpid()}-", dir=MEMORY)
    allocate = getattr(os, "posix_fallocate", lambda file, start, length: os.ftruncate(file, length))
    try:
        allocate(descriptor, 0, size)
    except OSError as error:
        os.unlink(path)
        raise DataError(
            f"{MEMORY} has no room for {size / 2**20:.0f} MiB of data: {error.strerror}"
        ) from error
    finally:
        os.close(descriptor)
    return path


def _open(path: str, size: int, access: int) -> mmap.mmap:
    with open(path, "r+b" if access == mmap.ACCESS_WRITE else "rb") as file:
        return mmap.mmap(file.fileno(), size, access=access)
