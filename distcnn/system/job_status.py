"""The status of a job, which the job reports to its launcher, because mpirun's exit code is not reliable.

Open MPI's mpirun returns 0 for a job that has lost a host, and another code for a job that has finished after a rank's
death. So the launcher makes a file and puts its path into the environment, and the job's rank 0 appends a line to the
file for each status.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

FILE = "DISTCNN_OUTCOME"  # the environment variable with the path of the file
MARK = "DISTCNN_JOB"  # the environment variable with the random name of the job in every process of the job

STARTED = "started"  # all ranks have started and can communicate
BEGUN = "begun"  # the run's folder exists, so that the next job can resume from it
TRAINING = "training"  # all ranks handle signals, and save when they are asked to stop
EXIT = "exit"  # followed by the exit code that all ranks have agreed on


def write(status: str) -> None:
    """Append a status to the launcher's file, if there is a launcher and the file exists."""
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
    """Return all statuses in the launcher's file, in the order in which they were written; [] without a file."""
    try:
        return Path(path).read_bytes().decode(errors="replace").splitlines()
    except OSError:
        return []


def exit_code(statuses: Sequence[str]) -> int | None:
    """Return the exit code among the statuses of a job, or None if the job did not report one."""
    found = [re.fullmatch(rf"{EXIT} (\d{{1,3}})", status, re.ASCII) for status in statuses]
    codes = [int(match[1]) for match in found if match]
    return codes[-1] if codes else None
