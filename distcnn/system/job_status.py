"""How a job tells its launcher how far it came, as an exit code of mpirun tells too little.

A lost host ends a job under Open MPI with exit code 0, and a job that went on after a rank's death with another.
So the launcher makes a file and names it in the environment; the job's first rank writes a word a line into it.
"""

import os
from contextlib import suppress

FILE = "DISTCNN_OUTCOME"  # in the environment of every rank: where to write

STARTED = "started"  # all ranks have found each other
BEGUN = "begun"  # the run's folder is there: from now on, go on from it
TRAINING = "training"  # all ranks listen to signals, and will save when they are asked to stop
EXIT = "exit"  # followed by the code that all ranks have agreed on


def tell(word):
    """Add a word to the launcher's file, if there is a launcher; what it has removed is not made again."""
    path = os.environ.get(FILE)
    if path:
        with suppress(OSError):
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
            try:
                os.write(descriptor, f"{word}\n".encode())
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def told(path):
    """Return the words in the launcher's file."""
    try:
        with open(path, "rb") as file:
            return file.read().decode(errors="replace").splitlines()
    except OSError:
        return []


def exit_code(words):
    """Return the exit code that a job has told, or None."""
    codes = [word.split()[1] for word in words if word.startswith(f"{EXIT} ")]
    return int(codes[-1]) if codes else None
