"""Files that may do harm: a process with little memory and time opens them first, and its death is the refusal."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from distcnn.errors import DataError

WALK = (
    "import sys; sys.path[:] = sys.argv[2:]; from distcnn.data.walk import main; sys.exit(main(sys.argv[1]))"
)
REMEDY = "copy it again or make it anew"

_harmless = set()  # files that were walked, as they were then


def require_harmless(path: str | Path) -> None:
    """Raise DataError unless a process can look at all that is needed of the file; this costs 0.2 s, once a file."""
    status = os.stat(path)
    file = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
    if file in _harmless:
        return
    code, reason = walked(path)
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        raise DataError(f"{path}: damaged: reading it takes too much time or memory: {REMEDY}")
    if code < 0:
        raise DataError(f"{path}: damaged: it crashes HDF5 ({signal.Signals(-code).name}): {REMEDY}")
    if code:
        raise DataError(f"{path}: truncated or damaged: {REMEDY} ({reason})")
    _harmless.add(file)


def walked(path: str | Path) -> tuple[int, str]:
    """Return how a process ended that walked through the file, below 0 by a signal, and its reason if it gave one."""
    words = [sys.executable, "-c", WALK, os.path.abspath(path), *sys.path]
    alone = {
        "MPI4PY_RC_INITIALIZE": "0",
        "OPENBLAS_NUM_THREADS": "1",
    }  # an h5py with MPI begins it when imported
    done = subprocess.run(words, env=os.environ | alone, stdin=subprocess.DEVNULL, capture_output=True)
    lines = (done.stdout or done.stderr).decode(errors="replace").splitlines()
    return done.returncode, lines[-1] if lines else "no reason given"
