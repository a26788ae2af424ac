"""A first walk through a dataset's file, in a process of its own with little memory and time: see `guard`.

HDF5 hangs, crashes or takes all memory on some damaged files. Here it may. Walked is whatever training touches later,
except samples that are not packed: filters crash, too (seen: Fletcher's checksum of a chunk of 3 bytes).
"""

import math
import os
import sys

import h5py

from distcnn.data.schema import find, names, problems
from distcnn.errors import DataError

BARE = "/images", "/labels"  # of a file without parts, to predict
SECONDS = 20  # of processor time, for the walk, and for each slab that is read
MEMORY = 2**30  # bytes, beyond what the imports have taken
SLAB = 2**26  # bytes that are read at a time
UNREADABLE = 3  # the exit code: HDF5 said no, its reason is on stdout


def main(path: str) -> int:
    """Walk, and return the exit code; mistakes that training tells in words of its own are none here."""
    limit()
    try:
        probe(path)
    except Exception as error:  # MemoryError, too
        print(" ".join(str(error).split()) or type(error).__name__)
        return UNREADABLE
    return 0


def probe(path: str) -> None:
    """Look at all that is needed of a file."""
    with h5py.File(path, "r", locking=False) as file:
        list(problems(file))
        for name in [*names(file), *BARE]:
            try:
                dataset = find(file, name)
            except DataError:
                continue
            if dataset.chunks and dataset.shape and dataset.id.get_create_plist().get_nfilters():
                _read(dataset)


def limit() -> None:
    """Limit this process's memory and time; where a system cannot, there is no limit."""
    try:
        import resource

        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, OSError, ValueError):
        pass
    _more_time()


def _more_time() -> None:
    """Have so many seconds more from now on; whoever computes for longer is killed."""
    try:
        import resource
    except ImportError:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = math.ceil(used.ru_utime + used.ru_stime) + SECONDS
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, hard))


def _read(dataset: h5py.Dataset) -> None:
    """Read all samples, some chunks at a time."""
    row = max(1, dataset.nbytes // max(1, len(dataset)))
    rows = max(dataset.chunks[0], SLAB // row // dataset.chunks[0] * dataset.chunks[0])
    for start in range(0, len(dataset), rows):
        _more_time()
        dataset[start : start + rows]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
