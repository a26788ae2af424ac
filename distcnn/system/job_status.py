"""The status of a job, which the job reports to its launcher, because mpirun's exit code is not reliable.

Open MPI's mpirun returns 0 for a job that has lost a host, and another code for a job that has finished after a rank's
death. So the launcher makes a file and puts its path into the environment, and the job's rank 0 appends a line to the
file for each status.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from distcnn.system.regular_files import open_regular

FILE = "DISTCNN_OUTCOME"  # the environment variable with the path of the file
MARK = "DISTCNN_JOB"  # the environment variable with the random name of the job in every process of the job

LOCK = "DISTCNN_LOCK"  # the environment variable with the token of the launcher's lock on the run's folder

STARTED = "started"  # all ranks have started and can communicate
BEGUN = "begun"  # the run's folder exists, so that the next job can resume from it
TRAINING = "training"  # all ranks handle signals, and save when they are asked to stop
EXIT = "exit"  # followed by the exit code that all ranks have agreed on

PREFIX = ".launch-"  # of the names of the files
NAME = re.compile(re.escape(PREFIX) + "[a-z0-9_]{8}")
LIMIT = 1 << 16  # bytes of a file
STATUSES = re.compile(rf"(({STARTED}|{BEGUN}|{TRAINING}|{EXIT} \d{{1,3}})\n)*".encode())


@contextmanager
def file_in(folder: str | os.PathLike) -> Iterator[Path]:
    """Make the launcher's file in a folder that it has locked, and remove the file after the block.

    The file is made only once, by the launcher, because network file systems cache for long that a file is missing.
    """
    _remove_leftovers(Path(folder))
    descriptor, name = tempfile.mkstemp(prefix=PREFIX, dir=Path(folder).resolve())  # follows no link
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        with suppress(OSError):
            os.unlink(name)


def _remove_leftovers(folder: Path) -> None:
    """Remove the files of launchers that were killed, which are known by name and content."""
    for path in [each for each in folder.glob(f"{PREFIX}*") if NAME.fullmatch(each.name)]:
        with suppress(OSError), open_regular(path, follow_links=False) as file:
            content = file.read(LIMIT + 1)
            if len(content) <= LIMIT and STATUSES.fullmatch(content):
                path.unlink()


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
