"""How far a job has come, as it reports to its launcher: the exit code of mpirun does not say enough.

Open MPI ends a job that has lost a host with exit code 0, and a job that finished after a rank's death with another
code. So the launcher makes a file and names it in the environment; the job's rank 0 writes a status a line into it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

FILE = "DISTCNN_OUTCOME"  # the variable in the environment of every rank that holds the file's path

STARTED = "started"  # all ranks have found each other
BEGUN = "begun"  # the run's folder is there: a job that is started again resumes from it
TRAINING = "training"  # all ranks listen to signals, and will save when they are asked to stop
EXIT = "exit"  # followed by the exit code that all ranks have agreed on


def write(status: str) -> None:
    """Append a status to the launcher's file, if there is a launcher; a file that it has removed is not made again."""
    path = os.environ.get(FILE)
    if path:
        with suppress(OSError):
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
            try:
                os.write(descriptor, f"{status}\n".encode())
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def read(path: str | os.PathLike) -> list[str]:
    """Return every status in the launcher's file, in the order in which they were written; [] without a file."""
    try:
        return Path(path).read_bytes().decode(errors="replace").splitlines()
    except OSError:
        return []


def exit_code(statuses: Sequence[str]) -> int | None:
    """Return the exit code among the statuses of a job, or None if the job did not report one."""
    codes = [status.split()[1] for status in statuses if status.startswith(f"{EXIT} ")]
    return int(codes[-1]) if codes else None
