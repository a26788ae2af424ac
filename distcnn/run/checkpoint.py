"""Checkpoints: files that hold the whole state of a run. A checksum is verified before HDF5 reads a file.

The first 512 bytes hold the length and the SHA-256 of the rest. They are HDF5's user block, which HDF5 skips, so that
any HDF5 tool can open the file.
"""

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from distcnn.errors import CheckpointError
from distcnn.run.hdf5_image import Image, pack, unpack
from distcnn.run.state import State
from distcnn.system.atomic_files import temporary_path, write_whole
from distcnn.system.counts import counted

HEADER = 512  # bytes: HDF5's smallest user block
FORMAT, OLD_FORMAT = 2, 1  # the format that is written, and the earlier one, which is read, too
HEADER_TEXT = re.compile(rb"distcnn checkpoint (\d+)\nsha256 [0-9a-f]{64}\nlength (\d{1,18})\n\0*")
BEST = "best.h5"  # a link to the best checkpoint
SET_ASIDE = ".set-aside"  # appended to the name of a checkpoint that no longer belongs to the run
NAME = re.compile(rf"step-(\d{{8,18}})\.h5({SET_ASIDE}|)")
UNFINISHED = re.compile(rf"\.(step-|{re.escape(BEST)}).*\.tmp")


# ---- one checkpoint ----


def save(path: str | Path, state: State, image: Image | None = None) -> None:
    """Write a checkpoint atomically; raise OutputError if it cannot be written.

    image: an Image that has held earlier states of the run, which makes this call faster.
    """
    contents = image.of(state) if image else pack(state)
    write_whole(path, _header(contents), contents)


def load(path: str | Path) -> State:
    """Return the State in a checkpoint; raise CheckpointError if the file is damaged or is no checkpoint."""
    from distcnn.run.checkpoint_sandbox import check_in_sandbox

    image = _verified(path)
    check_in_sandbox(path, image)
    try:
        return unpack(image)
    except Exception as error:  # HDF5 or NumPy, if another program has written contents with a valid checksum
        reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
        raise CheckpointError(f"{path}: not the state of a run: {reason}; use another checkpoint") from None


def _verified(path: str | Path) -> bytes:
    """Return the HDF5 file in a checkpoint; raise CheckpointError if its checksum does not match."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device might never end
            raise CheckpointError(f"{path}: not a file; wanted a checkpoint, as step-00000012.h5")
        with open(path, "rb") as file:
            header = file.read(HEADER)
            number = _format(header, status.st_size, path)
            image = file.read(status.st_size - HEADER)
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", "too large")
        raise CheckpointError(f"{path}: cannot be read: {reason}; wanted a checkpoint") from None
    if header != _header(image, number):
        raise CheckpointError(f"{path}: damaged: its checksum does not match; use another checkpoint")
    return image


def _header(image: bytes | memoryview, number: int = FORMAT) -> bytes:
    """Return the header of a checkpoint of format `number` with this HDF5 file."""
    text = f"distcnn checkpoint {number}\nsha256 {hashlib.sha256(image).hexdigest()}\nlength {len(image)}\n"
    return text.encode().ljust(HEADER, b"\0")


def _format(header: bytes, size: int, path: str | Path) -> int:
    """Return the format number in a header; raise CheckpointError if it is unknown or if the size does not match.

    size: the size of the file in bytes, to be compared with the length in the header.
    path: of the file, for error messages.
    """
    match = HEADER_TEXT.fullmatch(header)
    if match is None:
        what = "damaged at its beginning" if header.startswith(b"distcnn checkpoint") else "not a checkpoint"
        raise CheckpointError(f"{path}: {what}; wanted a file that distcnn.train has saved")
    if int(match[1]) not in (FORMAT, OLD_FORMAT):
        found = f"format {match[1].decode()}, wanted {FORMAT}"
        raise CheckpointError(f"{path}: {found}; use the version of distcnn that wrote it")
    wanted = HEADER + int(match[2])
    if size != wanted:
        raise CheckpointError(
            f"{path}: has {counted(size, 'byte')}, wanted {wanted:,}; use another checkpoint"
        )
    return int(match[1])


# ---- a folder of checkpoints ----


def name(step: int) -> str:
    """Return the file name of the checkpoint after a step."""
    return f"step-{step:08d}.h5"


def newest(folder: str | Path, warn: Callable[[str], None]) -> tuple[Path, State] | None:
    """Return (path, State) of the newest good checkpoint in a folder, or None if there is none.

    warn: called with a message for each bad checkpoint that is skipped.
    """
    return next(good(folder, warn), None)


def good(folder: str | Path, warn: Callable[[str], None]) -> Iterator[tuple[Path, State]]:
    """Yield (path, State) of the good checkpoints in a folder, the newest first.

    warn: called with a message for each bad checkpoint that is skipped.
    """
    for _, path in reversed(_by_step(folder)):
        try:
            state = load(path)
        except CheckpointError as error:
            warn(f"skipping a checkpoint: {error}")
        else:
            yield path, state


def mark_best(folder: str | Path, step: int) -> None:
    """Make best.h5 in a folder a link to the checkpoint of this step."""
    link = Path(folder, BEST)
    temporary = temporary_path(link)
    if os.path.islink(link) and os.readlink(link) == name(step):
        return
    temporary.symlink_to(name(step))
    os.replace(temporary, link)


def prune(folder: str | Path, last: int, best: int | None = None) -> None:
    """Remove old checkpoints, and the temporary files of runs that were killed.

    last: how many of the newest checkpoints stay, and how many of the newest of those that were set aside.
    best: the step of a checkpoint that stays, too.
    """
    old = [path for step, path in _by_step(folder)[:-last] if step != best]
    old += [path for _, path in _by_step(folder, SET_ASIDE)[:-last]]
    unfinished = [Path(folder, each) for each in os.listdir(folder) if UNFINISHED.fullmatch(each)]
    for path in old + unfinished:
        path.unlink(missing_ok=True)


def steps(folder: str | Path) -> frozenset[int]:
    """Return the steps of all checkpoints in a folder, good or not, those that were set aside among them."""
    return frozenset(step for ending in ("", SET_ASIDE) for step, _ in _by_step(folder, ending))


def latest(folder: str | Path) -> Path | None:
    """Return the path of the checkpoint of the last step, good or not, or None if there is none."""
    return next((path for _, path in reversed(_by_step(folder))), None)


def expendable(folder: str | Path, best: int | None) -> list[Path]:
    """Return the checkpoints that may give way to a new one, in this order: those set aside, then the oldest first.

    best: the step of a checkpoint that stays, too, besides that of the last step.
    """
    older = [path for step, path in _by_step(folder)[:-1] if step != best]
    return [path for _, path in _by_step(folder, SET_ASIDE)] + older


def set_aside(folder: str | Path, step: int) -> None:
    """Rename the checkpoints after `step`, from which a run is about to resume, so that it never resumes from these."""
    for later, path in _by_step(folder):
        if later > step:
            path.replace(f"{path}{SET_ASIDE}")


def _by_step(folder: str | Path, ending: str = "") -> list[tuple[int, Path]]:
    """Return (step, path) of the checkpoints in a folder, in order of steps; [] if there is no folder.

    ending: "", or SET_ASIDE for the checkpoints that were set aside.
    """
    names = os.listdir(folder) if os.path.isdir(folder) else []
    found = [NAME.fullmatch(each) for each in names]
    return sorted((int(match[1]), Path(folder, match[0])) for match in found if match and match[2] == ending)
