"""Checkpoints: files that hold a run's whole state, verified by a checksum before HDF5 reads a byte of them.

The first 512 bytes hold the length and the SHA-256 of the rest. HDF5 skips them as its user block, so any
HDF5 tool opens the file.
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
from distcnn.system.atomic_files import write_whole

HEADER = 512  # bytes: HDF5's smallest user block
FORMAT, OLD_FORMAT = 2, 1  # the format that is written, and the other one that is read
HEADER_TEXT = re.compile(rb"distcnn checkpoint (\d+)\nsha256 [0-9a-f]{64}\nlength (\d{1,18})\n\0*")
BEST = "best.h5"  # a link to the best checkpoint
SET_ASIDE = ".set-aside"  # appended to the name of a checkpoint that is not part of the run any more
NAME = re.compile(rf"step-(\d{{8,18}})\.h5({SET_ASIDE}|)")
UNFINISHED = re.compile(r"\.step-.*\.tmp")


# ---- one checkpoint ----


def save(path: str | Path, state: State, image: Image | None = None) -> None:
    """Write a checkpoint, whole or not at all; raise OutputError when it cannot be written.

    image: an Image that was used for earlier states of the run, which makes this one faster.
    """
    contents = image.of(state) if image else pack(state)
    write_whole(path, _header(contents), contents)


def load(path: str | Path) -> State:
    """Return the State in a checkpoint; raise CheckpointError unless the file is, bit for bit, one that was saved."""
    image = _verified(path)
    try:
        return unpack(image)
    except Exception as error:  # whatever HDF5 and NumPy raise on contents that another program signed
        reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
        raise CheckpointError(f"{path}: not the state of a run: {reason}; use another checkpoint") from None


def _verified(path: str | Path) -> bytes:
    """Return the HDF5 file in a checkpoint, or raise CheckpointError."""
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
    text = f"distcnn checkpoint {number}\nsha256 {hashlib.sha256(image).hexdigest()}\nlength {len(image)}\n"
    return text.encode().ljust(HEADER, b"\0")


def _format(header: bytes, size: int, path: str | Path) -> int:
    """Return a header's format; raise CheckpointError when it is unknown, or when it wants a file of another size.

    size: of the file at this path, in bytes.
    """
    match = HEADER_TEXT.fullmatch(header)
    if match is None:
        what = "damaged at its beginning" if header.startswith(b"distcnn checkpoint") else "not a checkpoint"
        raise CheckpointError(f"{path}: {what}; wanted a file that distcnn.train has saved")
    if int(match[1]) not in (FORMAT, OLD_FORMAT):
        raise CheckpointError(
            f"{path}: format {match[1].decode()}, wanted {FORMAT}; use the distcnn that wrote it"
        )
    wanted = HEADER + int(match[2])
    if size != wanted:
        raise CheckpointError(f"{path}: has {size} bytes, wanted {wanted}; use another checkpoint")
    return int(match[1])


# ---- a folder of checkpoints ----


def name(step: int) -> str:
    """Return the file name of a step's checkpoint."""
    return f"step-{step:08d}.h5"


def newest(folder: str | Path, warn: Callable[[str], None]) -> tuple[Path, State] | None:
    """Return (path, State) of a folder's newest good checkpoint, or None.

    warn: called with a line about each bad checkpoint on the way.
    """
    return next(good(folder, warn), None)


def good(folder: str | Path, warn: Callable[[str], None]) -> Iterator[tuple[Path, State]]:
    """Yield (path, State) of a folder's good checkpoints, the newest first.

    warn: called with a line about each bad checkpoint on the way.
    """
    for _, path in reversed(_by_step(folder)):
        try:
            state = load(path)
        except CheckpointError as error:
            warn(f"skipping a checkpoint: {error}")
        else:
            yield path, state


def mark_best(folder: str | Path, step: int) -> None:
    """Make best.h5 a link to the checkpoint of this step."""
    link, temporary = Path(folder, BEST), Path(folder, f".{BEST}.tmp")
    if os.path.islink(link) and os.readlink(link) == name(step):
        return
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(name(step))
    os.replace(temporary, link)


def prune(folder: str | Path, last: int, best: int | None = None) -> None:
    """Remove old checkpoints, and the temporary files of runs that were killed.

    last: so many of the newest checkpoints stay, and so many of the newest that were set aside
    best: a step whose checkpoint stays, too
    """
    old = [path for step, path in _by_step(folder)[:-last] if step != best]
    old += [path for _, path in _by_step(folder, SET_ASIDE)[:-last]]
    unfinished = [Path(folder, each) for each in os.listdir(folder) if UNFINISHED.fullmatch(each)]
    for path in old + unfinished:
        path.unlink(missing_ok=True)


def set_aside(folder: str | Path, step: int) -> None:
    """Rename the checkpoints after `step`, so that a run that goes on from there never resumes from one of them."""
    for later, path in _by_step(folder):
        if later > step:
            path.replace(f"{path}{SET_ASIDE}")


def _by_step(folder: str | Path, ending: str = "") -> list[tuple[int, Path]]:
    """Return (step, path) of the checkpoints in a folder, in order; none where there is no folder."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    found = [NAME.fullmatch(each) for each in names]
    return sorted((int(match[1]), Path(folder, match[0])) for match in found if match and match[2] == ending)
