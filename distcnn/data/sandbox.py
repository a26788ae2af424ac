"""Files that may do harm: a process with little memory and time opens them first, and its death is the refusal."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import h5py

from distcnn.errors import DataError
from distcnn.system import cache_dir

WALK = (
    "import sys; sys.path[:] = sys.argv[2:]; from distcnn.data.sandbox_probe import main; "
    "sys.exit(main(sys.argv[1]))"
)
REMEDY = "copy it again or make it anew"

YOUNG = 2  # seconds; a file that was changed so lately may change again at the same tick of the clock

_harmless = set()  # files that were walked, by name


def check_in_sandbox(path: str | Path) -> None:
    """Raise DataError unless a process can look at all that is needed of the file.

    This costs 0.2 s, once a file: its name is kept, by which it is known until it changes.
    """
    name, young = _name(path)
    if name in _harmless or ((folder := cache_dir.folder("walked")) and (folder / name).exists()):
        return
    code, reason = probed(path)
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        raise DataError(f"{path}: damaged: reading it takes too much time or memory: {REMEDY}")
    if code < 0:
        raise DataError(f"{path}: damaged: it crashes HDF5 ({signal.Signals(-code).name}): {REMEDY}")
    if code:
        raise DataError(f"{path}: truncated or damaged: {REMEDY} ({reason})")
    _harmless.add(name)
    if folder and not young:
        with suppress(OSError):
            (folder / name).touch()


def _name(path: str | Path) -> tuple[str, bool]:
    """Return a name for this file as it is now, to this HDF5, and whether it was changed a moment ago."""
    status = os.stat(path)
    times = status.st_mtime_ns, status.st_ctime_ns
    known = h5py.version.hdf5_version, status.st_dev, status.st_ino, status.st_size, *times
    return hashlib.sha256(repr(known).encode()).hexdigest(), time.time() - max(times) * 1e-9 < YOUNG


def probed(path: str | Path) -> tuple[int, str]:
    """Return how a process ended that walked through the file, below 0 by a signal, and its reason if it gave one."""
    words = [sys.executable, "-c", WALK, os.path.abspath(path), *sys.path]
    alone = {
        "MPI4PY_RC_INITIALIZE": "0",
        "OPENBLAS_NUM_THREADS": "1",
    }  # an h5py with MPI begins it when imported
    done = subprocess.run(words, env=os.environ | alone, stdin=subprocess.DEVNULL, capture_output=True)
    lines = (done.stdout or done.stderr).decode(errors="replace").splitlines()
    return done.returncode, lines[-1] if lines else "no reason given"
