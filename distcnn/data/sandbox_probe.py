"""A first look at a dataset's file, in a subprocess with little memory and time that `sandbox` starts.

HDF5 hangs, crashes or takes all memory on some damaged files. Here it may. The probe reads whatever training reads
later, except samples that no filter has packed: filters crash, too (seen: Fletcher's checksum of a chunk of 3 bytes).
"""

import math
import os
import sys

import h5py

from distcnn.data.hdf5_dataset import find_dataset
from distcnn.data.schema import dataset_names, problems
from distcnn.errors import DataError

BARE = "/images", "/labels"  # of a file without splits, to predict
SECONDS = 20  # of processor time, for all but samples, and for each slab of samples
MEMORY = 2**30  # bytes, beyond what the imports have taken
SLAB = 2**26  # bytes that are read at a time
UNREADABLE = 3  # the exit code if HDF5 cannot read the file; the reason is on stdout


def main(path: str) -> int:
    """Probe a file and return the exit code; 0 also for mistakes that the caller finds and explains itself."""
    limit()
    try:
        probe(path)
    except Exception as error:  # MemoryError, too
        print(" ".join(str(error).split()) or type(error).__name__)
        return UNREADABLE
    return 0


def probe(path: str) -> None:
    """Read all that is needed of a file, and forget it."""
    with h5py.File(path, "r", locking=False) as file:
        list(problems(file))
        for name in [*dataset_names(file), *BARE]:
            try:
                dataset = find_dataset(file, name)
            except DataError:
                continue
            if dataset.chunks and dataset.shape and dataset.id.get_create_plist().get_nfilters():
                _read(dataset)


def limit() -> None:
    """Limit this process's memory and time; on a system that cannot, do nothing."""
    try:
        import resource

        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, OSError, ValueError):
        pass
    _extend_time()


def _extend_time() -> None:
    """Allow SECONDS more of processor time from now on; the system kills a process that takes longer."""
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
        _extend_time()
        dataset[start : start + rows]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
