"""The subprocess that distcnn.data.sandbox starts: it reads a dataset's file with limited memory and time.

On some damaged files, HDF5 hangs, crashes or allocates all memory; in this process that does no harm. The probe reads
everything that training reads later, except for numbers that are stored without a filter. Filters can crash, too:
the Fletcher checksum does on a chunk of 3 bytes. Chunks that hold too little are found here, see `chunk_checks`.
"""

import math
import os
import sys
from contextlib import suppress

import h5py

from distcnn.data.chunk_checks import read_all, require_full
from distcnn.data.classes import class_names, named_classes, names_beside, task_in
from distcnn.data.fingerprint import read_seal
from distcnn.data.hdf5_dataset import find_dataset, found_dataset, is_intricate
from distcnn.data.names import CLASS_NAMES, KEPT_ATTRIBUTES
from distcnn.data.survey import split_table, survey
from distcnn.errors import DataError
from distcnn.system.terminal_text import say

# The paths of distcnn's own layout, and those of a file without splits, for prediction.
OWN = {f"{split}/{kind}" for split in ("/train", "/test", "/validation", "") for kind in ("images", "labels")}
SECONDS = 20  # of processor time, for everything but samples, and for each slab of samples
MEMORY = 2**30  # bytes, in addition to what the process uses after its imports
SLAB = 2**26  # bytes that are read at a time
COPIES = (
    3  # of a chunk that are in memory while it is read: packed, unpacked by its filters, and in the array
)
UNREADABLE = 3  # the exit code if HDF5 cannot read the file; the process then prints the reason
NO_MEMORY = "memory allocation failed"  # words of HDF5
OVER_LIMIT = 4  # the exit code if MEMORY is not enough


def main(path: str, *names: str) -> int:
    """Probe a file and return the exit code, UNREADABLE or 0.

    The code is also 0 if the file has mistakes that a message tells: the caller finds these itself.

    path: the file.
    names: of datasets; without them the structure of the file and the datasets of distcnn's own layout are probed.
    """
    limit()
    try:
        probe(path, *names)
    except MemoryError:
        return OVER_LIMIT
    except Exception as error:
        if NO_MEMORY in str(error):
            return OVER_LIMIT
        say(" ".join(str(error).split()) or type(error).__name__)
        return UNREADABLE
    return 0


def probe(path: str, *names: str) -> None:
    """Read everything in a file that training or prediction needs, and discard it."""
    with h5py.File(path, "r", locking=False, rdcc_nbytes=0) as file:  # no cache, as nothing is read again
        for name in names or sorted((*OWN, *CLASS_NAMES)):
            _probe_dataset(file, name)
        if not names:
            _probe_structure(file)


def _probe_dataset(file: h5py.File, name: str) -> None:
    """Read what HDF5 must interpret to read a dataset, if there is one with this name in the file."""
    dataset = found_dataset(file, name)
    if dataset is None:
        return
    if is_intricate(dataset):
        _read(dataset)
    with suppress(TypeError):  # a type that NumPy does not have
        names_beside(file, dataset.name)


def _probe_structure(file: h5py.File) -> None:
    """Read what is read to find out which datasets a file has and what they mean."""
    for found in survey(file):
        with suppress(DataError):
            find_dataset(file, found.path)
    for name in KEPT_ATTRIBUTES:
        file.attrs.get(name)
    for read in (class_names, named_classes, task_in, read_seal, split_table):
        with suppress(DataError):
            read(file)


def limit(memory: int | None = None) -> None:
    """Limit the memory and the processor time of this process, if the system supports that.

    memory: bytes beyond those that are in use; None: MEMORY
    """
    memory = MEMORY if memory is None else memory
    try:
        import resource

        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, OSError, ValueError):
        pass
    _limit_time()


def _limit_time() -> None:
    """Limit the processor time of this process to SECONDS from now on; the system kills it if it needs more."""
    try:
        import resource
    except ImportError:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = math.ceil(used.ru_utime + used.ru_stime) + SECONDS
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, hard))


def _extend_time() -> None:
    """Begin the SECONDS anew, in a process whose time is limited."""
    with suppress(ImportError):
        import resource

        if resource.getrlimit(resource.RLIMIT_CPU)[0] != resource.RLIM_INFINITY:
            _limit_time()


def _read(dataset: h5py.Dataset) -> None:
    """Read all samples of a dataset, some chunks at a time; without a filter, compare the sizes of its chunks alone.

    Raises MemoryError for chunks that MEMORY may not suffice for: HDF5 would only say that a filter has failed, as it
    says of damaged chunks.
    """
    if dataset.chunks and COPIES * math.prod(dataset.chunks) * dataset.dtype.itemsize > MEMORY:
        raise MemoryError
    storage, row = dataset.id.get_create_plist(), max(1, dataset.nbytes // max(1, len(dataset)))
    if dataset.chunks and not storage.get_nfilters() and not dataset.dtype.hasobject:
        require_full(dataset, _extend_time)
        return
    chunk = dataset.chunks[0] if dataset.chunks else 1
    read_all(dataset, max(1, SLAB // row // chunk) * chunk, _extend_time)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
