"""Check a file in a subprocess with limited memory and time before it is used; if HDF5 crashes, reject the file."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import h5py

from distcnn.data.sandbox_probe import COPIES, MEMORY, OVER_LIMIT, OWN, SECONDS, UNREADABLE
from distcnn.errors import DataError
from distcnn.system import cache_dir
from distcnn.system.python import python

PROBE = (
    "import json, sys; sys.path[:] = sys.argv[2:]; from distcnn.data.sandbox_probe import main; "
    "sys.exit(main(sys.argv[1], *json.load(sys.stdin)))"
)
ENVIRONMENT = {
    "MPI4PY_RC_INITIALIZE": "0",  # an h5py that was built with MPI initializes it when imported
    "OPENBLAS_NUM_THREADS": "1",
}
REMEDY = "copy it again or create it again"
MOST = f"at most {MEMORY // COPIES >> 20} MiB"
SMALLER = f"write its datasets again, contiguous or in chunks of {MOST}, with shorter text"

YOUNG = 2  # seconds: a file that was changed more recently may change again without a new time stamp

CHECK = 2  # the number of what is checked: what has passed another one is checked again

_checked: set[str] = set()  # the marks of files that passed the check, see `_mark`


def check_in_sandbox(path: str | Path, *names: str) -> str:
    """Return the identity of the file that was checked; raise DataError unless a subprocess can read what is needed.

    This takes 0.2 s, once per file: a file in the user's cache folder records that the file has passed, until the file
    changes.

    path: the file.
    names: the paths of intricate datasets that will be read, besides those of distcnn's own layout, in a file that was
        checked without names before.
    """
    names = tuple(sorted(set(names) - OWN))
    identity, young = _identity(path)
    folder, mark = cache_dir.folder("checked-files"), _mark(identity, names)
    if mark in _checked or (folder and (folder / mark).exists()):
        return identity
    code, reason = run_probe(path, *names)
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
    _checked.add(mark)
    if folder and not young:
        with suppress(OSError):
            (folder / mark).touch()
    return identity


def require_unchanged(file: str | Path | int, identity: str, path: str | Path) -> None:
    """Raise DataError unless a file, by name or by descriptor, is the one that was checked; path: its name."""
    if _identity(file)[0] != identity:
        raise DataError(f"{path}: has changed while it was checked: start again when nobody writes it")


def _identity(path: str | Path | int) -> tuple[str, bool]:
    """Return a hash of the file's state and of what reads it, and whether the file was changed just now."""
    status = os.stat(path)
    times = status.st_mtime_ns, status.st_ctime_ns
    filters = find_spec("hdf5plugin") is not None  # whose filters would be probed, too
    known = CHECK, h5py.version.hdf5_version, filters, status.st_dev, status.st_ino, status.st_size, *times
    return hashlib.sha256(repr(known).encode()).hexdigest(), time.time() - max(times) * 1e-9 < YOUNG


def _mark(identity: str, names: tuple[str, ...]) -> str:
    """Return the name under which it is recorded that datasets of a file have passed the check."""
    return hashlib.sha256(repr((identity, names)).encode()).hexdigest() if names else identity


def run_probe(path: str | Path, *names: str) -> tuple[int, str]:
    """Probe a file in a subprocess; return its exit code, negative for a signal, and its last line of output.

    names: of datasets, which the subprocess gets on its input.
    """
    command = [*python(), "-c", PROBE, os.path.abspath(path), *sys.path]
    environment = os.environ | ENVIRONMENT
    text = json.dumps(names).encode()
    done = subprocess.run(command, env=environment, input=text, capture_output=True)
    lines = (done.stdout or done.stderr).decode(errors="replace").splitlines()
    return done.returncode, lines[-1] if lines else "no reason given"
