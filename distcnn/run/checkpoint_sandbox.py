"""A subprocess with little memory and time reads a checkpoint first: if HDF5 crashes on it, it is rejected.

The checksum finds damage, but whoever makes a checkpoint also makes its checksum.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from contextlib import suppress

from distcnn.data.sandbox import ENVIRONMENT
from distcnn.data.sandbox_probe import MEMORY, OVER_LIMIT, SECONDS, UNREADABLE, limit
from distcnn.errors import CheckpointError
from distcnn.system import cache_dir
from distcnn.system.python import python
from distcnn.system.terminal_text import say

PROBE = "import sys; sys.path[:] = sys.argv[1:]; from distcnn.run.checkpoint_sandbox import probe; sys.exit(probe())"

_checked: set[str] = set()  # identities of the contents that passed


def check_in_sandbox(path: str | os.PathLike, image: bytes) -> None:
    """Raise CheckpointError unless a subprocess can read the HDF5 file in a checkpoint.

    This costs 0.3 s, once for a content: the user's cache folder remembers its SHA-256.

    path: of the checkpoint, for messages
    image: the bytes of the HDF5 file
    """
    import h5py

    known = f"checkpoint {h5py.version.hdf5_version} {hashlib.sha256(image).hexdigest()}"
    identity = hashlib.sha256(known.encode()).hexdigest()
    folder = cache_dir.folder("checked-files")
    if identity in _checked or (folder and (folder / identity).exists()):
        return
    code, reason = run_probe(image)
    if code:
        raise CheckpointError(f"{path}: {_words(code, reason)}; use another checkpoint")
    _checked.add(identity)
    if folder:
        with suppress(OSError):
            (folder / identity).touch()


def run_probe(image: bytes) -> tuple[int, str]:
    """Read the file in a subprocess; return its exit code, below 0 for a signal, and the reason if it gave one."""
    command = [*python(), "-c", PROBE, *sys.path]
    done = subprocess.run(command, env=os.environ | ENVIRONMENT, input=image, capture_output=True)
    lines = (done.stdout or done.stderr).decode(errors="replace").splitlines()
    return done.returncode, lines[-1] if lines else "no reason given"


def probe() -> int:
    """Read the state in the HDF5 file on stdin, and return the exit code; the reason is on stdout."""
    from distcnn.run.hdf5_image import unpack

    image = sys.stdin.buffer.read()
    limit(MEMORY + 4 * len(image))
    try:
        unpack(image)
    except MemoryError:
        return OVER_LIMIT
    except Exception as error:  # whatever HDF5 and NumPy raise on contents that another program signed
        say((" ".join(str(error).split()) or type(error).__name__)[:100])
        return UNREADABLE
    return 0


def _words(code: int, reason: str) -> str:
    """Return in words why a probe has ended with this exit code."""
    if code in (-signal.SIGXCPU, -signal.SIGKILL, OVER_LIMIT):
        return f"reading it takes more than {SECONDS} s or {MEMORY >> 30} GiB of memory beyond its size, the limits"
    if code < 0:
        return f"not the state of a run: it crashes HDF5 ({signal.Signals(-code).name})"
    if code == UNREADABLE:
        return f"not the state of a run: {reason}"
    return f"the process that was to check it has failed: {reason}"
