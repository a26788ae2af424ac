"""Limits for the threads of libraries, so that the ranks of a node share its cores instead of competing for them.

The limits must be set before NumPy is imported, so this module imports only parts of Python.
"""

import os
import re
from collections.abc import Mapping, MutableMapping

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
LOCAL_RANKS = (  # variables with the number of ranks on this node, by launcher
    "MPI_LOCALNRANKS",  # MPICH
    "OMPI_COMM_WORLD_LOCAL_SIZE",  # Open MPI
    "SLURM_STEP_TASKS_PER_NODE",  # srun: "4" or "4(x2),3"
)


def limit_threads(environ: MutableMapping[str, str] = os.environ) -> None:
    """Set the number of threads of each library to this rank's share of the cores, unless the user has set it."""
    for name in THREADS:
        environ.setdefault(name, str(threads(environ)))


def threads(environ: Mapping[str, str]) -> int:
    """Return this rank's share of the cores on which it may run, at least 1."""
    return max(1, cores() // _local_ranks(environ))


def cores() -> int:
    """Return the number of cores on which this process may run."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _local_ranks(environ: Mapping[str, str]) -> int:
    """Return how many ranks the launcher has started on this node; 1 if it does not say."""
    counts = (re.match(r"[1-9]\d*", environ.get(name, "")) for name in LOCAL_RANKS)
    return next((int(count[0]) for count in counts if count), 1)
