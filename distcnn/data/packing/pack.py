"""Pack a dataset: all ranks, or several processes of one, read and encode its images, and one writes them in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from distcnn.data.file_states import require_unchanged, states_on
from distcnn.data.hdf5_file import open_hdf5
from distcnn.data.packing.content import Content, FileRows, Rows, row_bytes
from distcnn.data.packing.encoding import PIECE, Chunks, Job, Storage, encode
from distcnn.data.packing.writer import Writer
from distcnn.errors import DataError
from distcnn.parallel.collective import on_all, on_root
from distcnn.parallel.comm import Comm
from distcnn.system.process_pool import Crashed, cores, in_order

LARGE = 2**26  # bytes of images from which on several processes pay, if reading or encoding takes long
WAVE = 2**29  # bytes of images, roughly, that all ranks encode at a time
LARGEST = 2**27  # bytes of images that are read at a time, if the source has large chunks

Outcome = Chunks | DataError


@dataclass(frozen=True)
class Choices:
    """How a dataset is packed.

    level: of gzip, 1 to 9; 0 to store images as they are.
    chunk_bytes: of a chunk; None for the unit of stream mode.
    processes: how many read and encode where there is one rank; 0 for this one alone; None to choose.
    """

    level: int = 0
    chunk_bytes: int | None = None
    processes: int | None = None


def no_progress(count: int) -> None:
    """Show no progress; a function that shows it has the same argument, the number of images that were packed."""


def pack(
    content: Content,
    path: str | Path,
    choices: Choices,
    comm: Comm,
    progress: Callable[[int], object] = no_progress,
) -> None:
    """Write the file of a dataset, in memory that does not depend on its size. Collective.

    content: the same on all ranks.
    path: of the file, which rank 0 writes.

    Raises the same DataError, or OutputError, on every rank; then nothing is left.
    """
    before = states_on(comm.rank, content.states)
    on_all(comm, _check_equal, comm.allgather({path: state and state[1] for path, state in before.items()}))
    with Writer(path, progress) as writer:
        on_root(comm, writer.open, content)
        for split, (images, _) in content.splits.items():
            storage = Storage.of(images, choices.chunk_bytes, choices.level)
            on_root(comm, writer.begin, split, images, storage)
            pieces = images.pieces(_step(images, storage, comm.size))
            jobs = (Job(piece, storage) for piece in pieces)
            for found in _encoded(jobs, comm, _processes(content, images, choices)):
                on_root(comm, writer.add, found)
        on_all(comm, require_unchanged, before, "packed: pack it again")
        on_root(comm, writer.finish)


def _encoded(jobs: Iterator[Job], comm: Comm, processes: int) -> Iterator[Sequence[Outcome]]:
    """Yield what jobs give, in their order: on rank 0 that of some jobs at a time, on other ranks nothing."""
    if comm.size == 1:
        yield from ([_sound(found)] for found in in_order(encode, jobs, processes))
        return
    while wave := list(islice(jobs, comm.size)):
        own = encode(wave[comm.rank]) if comm.rank < len(wave) else []
        yield comm.gather(own) or ()


def _sound(found: Outcome | Crashed) -> Outcome:
    if isinstance(found, Crashed):
        return DataError(
            f"reading the images crashes HDF5, or takes too long ({found.signal}): create them again"
        )
    return found


def _step(images: Rows, storage: Storage, ranks: int) -> int:
    """Return how many images to read at a time: whole chunks, and some chunks of the source, too."""
    row = row_bytes(images)
    wanted = max(PIECE // row, min(2 * _source_rows(images), LARGEST // row))
    most = max(1, min(wanted, WAVE // ranks // row) // storage.rows)
    return most * storage.rows


def _source_rows(images: Rows) -> int:
    """Return the rows of the largest chunk in which images are stored."""
    arrays = images.arrays if isinstance(images, FileRows) else ()
    found = 1
    for array in arrays:
        with open_hdf5(array.file, (array.path,)) as file:
            chunks = file[array.path].chunks
        found = max(found, chunks[array.axes.sample] if chunks else 1)
    return found


def _processes(content: Content, images: Rows, choices: Choices) -> int:
    """Return how many processes encode a split; 0: this one."""
    if choices.processes is not None:
        return choices.processes
    is_large = images.count * row_bytes(images) >= LARGE
    return cores() if is_large and (choices.level or content.is_costly) else 0


def _check_equal(seen: list[dict[str, int | None]]) -> None:
    """Raise DataError unless all ranks have seen files of the same sizes."""
    for path in seen[0]:
        if any(each[path] != seen[0][path] for each in seen):
            raise DataError(f"{path} differs between nodes: put one copy where all nodes can read it")
