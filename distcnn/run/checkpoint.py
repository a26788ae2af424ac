"""Checkpoints: files that hold a run's whole state, verified by a checksum before HDF5 reads a byte of them.

The first 512 bytes hold the length and the SHA-256 of the rest. HDF5 skips them as its user block, so any
HDF5 tool opens the file.
"""

import hashlib
import os
import re
import stat
from pathlib import Path

from distcnn.errors import CheckpointError
from distcnn.run.state import Image, State, digest, pack, require_parameters, unpack
from distcnn.system.atomic_files import write_whole

__all__ = [
    "Image",
    "State",
    "digest",
    "good",
    "load",
    "mark_best",
    "name",
    "newest",
    "prune",
    "require_parameters",
    "save",
    "set_aside",
]

HEADER = 512  # bytes: HDF5's smallest user block
FORMAT, OLD = 2, 1  # what is written, and what else is read
LAYOUT = re.compile(rb"distcnn checkpoint (\d+)\nsha256 [0-9a-f]{64}\nlength (\d{1,18})\n\0*")
BEST = "best.h5"  # a link to the best checkpoint
SET_ASIDE = ".set-aside"  # behind the name of one that lies off the course of the run
NAME = re.compile(rf"step-(\d{{8,18}})\.h5({SET_ASIDE}|)")
UNFINISHED = re.compile(r"\.step-.*\.tmp")


def save(path, state, image=None):
    """Write a checkpoint, whole or not at all; OutputError when it cannot be written.

    image: an Image to be used again for later states of the run, which makes them faster.
    """
    contents = image.of(state) if image else pack(state)
    write_whole(path, _header(contents), contents)


def load(path):
    """Return the State in a checkpoint; CheckpointError unless it is, bit for bit, one that was saved."""
    image = _verified(path)
    try:
        return unpack(image)
    except Exception as error:  # whatever HDF5 and NumPy raise on contents that another program signed
        reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
        raise CheckpointError(f"{path}: not the state of a run: {reason}; use another checkpoint") from None


def name(step):
    """Return the file name of a step's checkpoint."""
    return f"step-{step:08d}.h5"


def newest(folder, warn):
    """Return (path, State) of a folder's newest good checkpoint, or None; `warn` hears of each bad one."""
    return next(good(folder, warn), None)


def good(folder, warn):
    """Yield (path, State) of a folder's good checkpoints, the newest first; `warn` hears of each bad one."""
    for _, path in reversed(_by_step(folder)):
        try:
            state = load(path)
        except CheckpointError as error:
            warn(f"skipping a checkpoint: {error}")
        else:
            yield path, state


def mark_best(folder, step):
    """Let best.h5 be the checkpoint of this step."""
    link, temporary = Path(folder, BEST), Path(folder, f".{BEST}.tmp")
    if os.path.islink(link) and os.readlink(link) == name(step):
        return
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(name(step))
    os.replace(temporary, link)


def prune(folder, keep, best=None):
    """Remove all but the newest `keep` checkpoints and that of step `best`, and what killed runs left unfinished.

    As many of those that were set aside stay, too.
    """
    old = [path for step, path in _by_step(folder)[:-keep] if step != best]
    old += [path for _, path in _by_step(folder, SET_ASIDE)[:-keep]]
    unfinished = [Path(folder, each) for each in os.listdir(folder) if UNFINISHED.fullmatch(each)]
    for path in old + unfinished:
        path.unlink(missing_ok=True)


def set_aside(folder, step):
    """Rename the checkpoints after `step`: a run that goes on from there must never take up their course."""
    for later, path in _by_step(folder):
        if later > step:
            path.replace(f"{path}{SET_ASIDE}")


def _by_step(folder, ending=""):
    """Return (step, path) of the checkpoints in a folder, in order; none where there is no folder."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    found = [NAME.fullmatch(each) for each in names]
    return sorted((int(match[1]), Path(folder, match[0])) for match in found if match and match[2] == ending)


def _verified(path):
    """Return the HDF5 file in a checkpoint, or raise CheckpointError."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device might never end
            raise CheckpointError(f"{path}: not a file; wanted a checkpoint")
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


def _header(image, number=FORMAT):
    text = f"distcnn checkpoint {number}\nsha256 {hashlib.sha256(image).hexdigest()}\nlength {len(image)}\n"
    return text.encode().ljust(HEADER, b"\0")


def _format(header, size, path):
    """Return a header's format; CheckpointError when it is another program's, a later format's or another size's."""
    match = LAYOUT.fullmatch(header)
    if match is None:
        what = "damaged at its beginning" if header.startswith(b"distcnn checkpoint") else "not a checkpoint"
        raise CheckpointError(f"{path}: {what}; wanted a file that distcnn.train has saved")
    if int(match[1]) not in (FORMAT, OLD):
        raise CheckpointError(
            f"{path}: format {match[1].decode()}, wanted {FORMAT}; use the distcnn that wrote it"
        )
    if size != HEADER + int(match[2]):
        raise CheckpointError(f"{path}: has {size} bytes, wanted {HEADER + int(match[2])}; use another one")
    return int(match[1])
