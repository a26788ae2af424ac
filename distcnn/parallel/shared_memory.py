"""Large arrays that all ranks read: one copy per node, in a file in memory that all its ranks map."""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from math import prod

import numpy as np

from distcnn.errors import DataError
from distcnn.parallel.collective import on_all
from distcnn.parallel.comm import Comm
from distcnn.parallel.node import MEMORY, Node, node
from distcnn.system import job_status

ALIGNMENT = 64  # bytes: a cache line, and an AVX-512 register


def share(comm: Comm, fields: Sequence[tuple], fill: Callable[..., None]) -> list[np.ndarray]:
    """Return read-only arrays that hold what `fill` has written, on every rank of `comm`. Collective.

    fields: (shape, dtype) of each array, the same on every rank.
    fill: called as `fill(*arrays)` by the first rank of each node, while the others sleep.

    Raises DataError on every rank if a node's shared memory is too small, and any UserError that `fill` raises.
    """
    here = node(comm)
    starts, size = _layout(fields)
    memory = common_memory(comm, here, size)
    places = zip(fields, starts, strict=True)
    arrays = [np.ndarray(shape, dtype, memory, start) for (shape, dtype), start in places]
    on_all(comm, lambda: fill(*arrays) if here.first else None)
    for array in arrays:
        array.flags.writeable = False
    return arrays


def common_memory(comm: Comm, here: Node, size: int, all_write: bool = False) -> mmap.mmap:
    """Return `size` bytes of shared memory, 0 at first, the same on all ranks of a node. Collective over `comm`.

    The memory is a file that is unlinked before this function returns, so that it is freed with the last rank, however
    that rank ends. If a rank has no other rank on its node, there is no file.

    here: this rank's node.
    all_write: whether all ranks may write, rather than only the first of the node.
    """
    with ExitStack() as names:
        makes = here.first and len(here.ranks) > 1
        made = on_all(comm, lambda: names.enter_context(_reserved(size)) if makes else None)
        path = here.own(comm.allgather(made))[0]
        access = mmap.ACCESS_WRITE if all_write or here.first else mmap.ACCESS_READ
        return on_all(comm, _open, path, size, access)


def _layout(fields: Sequence[tuple]) -> tuple[list[int], int]:
    """Return the byte offset of each array, and the size of all arrays together."""
    starts, size = [], 0
    for shape, dtype in fields:
        starts.append(size)
        size += -(-prod(shape) * np.dtype(dtype).itemsize // ALIGNMENT) * ALIGNMENT
    return starts, max(size, ALIGNMENT)


@contextmanager
def _reserved(size: int) -> Iterator[str]:
    """Create a file, reserve all its memory, and yield its name; unlink the file after the block.

    Without the reservation, a rank that touched a page for which there is no memory would be killed.
    """
    free = shutil.disk_usage(MEMORY).free
    if size > free:
        raise DataError(
            f"{MEMORY} has {free / 2**20:.0f} MiB free, but the data need {size / 2**20:.0f} MiB: "
            "give the node more shared memory (docker run --shm-size), or run one rank there"
        )
    job = os.environ.get(job_status.MARK, "")  # its launcher removes files whose names begin with its name
    descriptor, path = tempfile.mkstemp(prefix=f"distcnn-{job or os.getpid()}-", dir=MEMORY)
    allocate = getattr(os, "posix_fallocate", lambda file, start, length: os.ftruncate(file, length))
    try:
        try:
            allocate(descriptor, 0, size)
        except OSError as error:
            raise DataError(
                f"{MEMORY} has no room for {size / 2**20:.0f} MiB of data: {error.strerror}"
            ) from error
        finally:
            os.close(descriptor)
        yield path
    finally:
        os.unlink(path)


def _open(path: str | None, size: int, access: int) -> mmap.mmap:
    """Map a file; without a path return memory that only this process sees."""
    if path is None:
        return mmap.mmap(-1, size)
    with open(path, "r+b" if access == mmap.ACCESS_WRITE else "rb") as file:
        return mmap.mmap(file.fileno(), size, access=access)
