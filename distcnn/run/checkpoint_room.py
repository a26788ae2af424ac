"""Room for the newest checkpoint: on a full disk older checkpoints give way to it.

A checkpoint is whole, and flushed to disk, before the newest one before it may go. So a crash at any moment loses
nothing, as long as the disk has room for two checkpoints. Where it has room for only one, that one stays until
training ends, as a crash between its removal and the end of the writing would lose the whole run. At the end there is
no later checkpoint that could replace it, and then it gives way to the final state. The best checkpoint always stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from distcnn.errors import DiskFull, OutputError
from distcnn.run import checkpoint
from distcnn.run.hdf5_image import Image
from distcnn.run.state import State
from distcnn.system.atomic_files import write_whole


def save(path: Path, state: State, image: Image, best: int | None, last: bool) -> list[str]:
    """Write a checkpoint; return the names of the older ones that have given way to it.

    image: has held earlier states of the run.
    best: the step of the checkpoint that stays in any case, or None.
    last: whether there will be no later checkpoint.

    Raises DiskFull if there is no room even so, OutputError if it cannot be written for another reason.
    """
    try:
        checkpoint.save(path, state, image)
        return []
    except DiskFull as error:
        full = error
    gone: list[str] = []
    for older in checkpoint.expendable(path.parent, best):
        older.unlink()
        gone.append(older.name)
        with suppress(DiskFull):
            checkpoint.save(path, state, image)
            return gone
    newest = checkpoint.latest(path.parent)
    if newest is None or not last or newest.name == (best is not None and checkpoint.name(best)):
        raise DiskFull(f"{full}{f'; {names(gone)} had to go already' if gone else ''}")
    _save_in_place_of(newest, path, state, image)
    return [*gone, newest.name]


def names(gone: Sequence[str]) -> str:
    """Return the names of checkpoints in one phrase."""
    return " and ".join(filter(None, [", ".join(gone[:-1]), *gone[-1:]]))


def _save_in_place_of(newest: Path, path: Path, state: State, image: Image) -> None:
    """Remove the newest checkpoint, then write another; if that fails, write the removed one back."""
    content = newest.read_bytes()
    newest.unlink()
    try:
        checkpoint.save(path, state, image)
    except OutputError:
        write_whole(newest, content)
        raise
