"""Check a file in a subprocess with limited memory and time before it is used; if HDF5 crashes, reject the file."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import h5py

from distcnn.data.sandbox_probe import COPIES, MEMORY, OVER_LIMIT, SECONDS, UNREADABLE
from distcnn.errors import DataError
from distcnn.system import cache_dir
from distcnn.system.python import python

PROBE = (
    "import sys; sys.path[:] = sys.argv[2:]; from distcnn.data.sandbox_probe import main; "
    "sys.exit(main(sys.argv[1]))"
)
ENVIRONMENT = {
    "MPI4PY_RC_INITIALIZE": "0",  # an h5py that was built with MPI initializes it when imported
    "OPENBLAS_NUM_THREADS": "1",
}
REMEDY = "copy it again or create it again"
SMALLER = f"write its datasets again, contiguous or in chunks of at most {MEMORY // COPIES >> 20} MiB"

YOUNG = 2  # seconds: a file that was changed more recently may change again without a new time stamp

_checked: set[str] = set()  # the identities of files that passed the check, see `_identity`


def check_in_sandbox(path: str | Path) -> str:
    """Return the identity of the file that was checked; raise DataError unless a subprocess can read what is needed.

    This takes 0.2 s, once per file: a file in the user's cache folder records that the file has passed, until the file
    changes.
    """
    identity, young = _identity(path)
    folder = cache_dir.folder("checked-files")
    if identity in _checked or (folder and (folder / identity).exists()):
        return identity
    code, reason = run_probe(path)
    if code in (-signal.SIGXCPU, -signal.SIGKILL, OVER_LIMIT):
        most = f"more than {SECONDS} s or {MEMORY >> 30} GiB of memory, the limits"
        raise DataError(f"{path}: reading it takes {most}: {SMALLER}")
    if code < 0:
        raise DataError(f"{path}: damaged: it crashes HDF5 ({signal.Signals(-code).name}): {REMEDY}")
    if code == UNREADABLE:
        raise DataError(f"{path}: truncated or damaged: {REMEDY} ({reason})")
    if code:
        raise DataError(f"{path}: the subprocess that checks it has failed: {reason}")
    require_unchanged(path, identity, path)
    _checked.add(identity)
    if folder and not young:
        with suppress(OSError):
            (folder / identity).touch()
    return identity


def require_unchanged(file: str | Path | int, identity: str, path: str | Path) -> None:
    """Raise DataError unless a file, by name or by descriptor, is the one that was checked; path: its name."""
    if _identity(file)[0] != identity:
        raise DataError(f"{path}: has changed while it was checked: start again when nobody writes it")


def _identity(path: str | Path | int) -> tuple[str, bool]:
    """Return a hash of the file's state and the version of HDF5, and whether the file was changed just now."""
    status = os.stat(path)
    times = status.st_mtime_ns, status.st_ctime_ns
    known = h5py.version.hdf5_version, status.st_dev, status.st_ino, status.st_size, *times
    return hashlib.sha256(repr(known).encode()).hexdigest(), time.time() - max(times) * 1e-9 < YOUNG


def run_probe(path: str | Path) -> tuple[int, str]:
    """Probe a file in a subprocess; return its exit code, negative for a signal, and its last line of output."""
    command = [*python(), "-c", PROBE, os.path.abspath(path), *sys.path]
    environment = os.environ | ENVIRONMENT
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True)
    lines = (done.stdout or done.stderr).decode(errors="replace").splitlines()
    return done.returncode, lines[-1] if lines else "no reason given"
