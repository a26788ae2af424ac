"""Thread counts of the libraries, from what each rank may use, so that ranks do not fight for cores.

They are set before NumPy is imported, so this imports nothing heavy.
"""

import os
import re

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
LOCAL_RANKS = (  # how many ranks share this node, by launcher
    "MPI_LOCALNRANKS",  # MPICH
    "OMPI_COMM_WORLD_LOCAL_SIZE",  # Open MPI
    "SLURM_STEP_TASKS_PER_NODE",  # srun: "4" or "4(x2),3"
)


def limit_threads(environ=os.environ) -> None:
    """Set the number of threads of every library, except where the user has set it."""
    for name in THREADS:
        environ.setdefault(name, str(threads(environ)))


def threads(environ) -> int:
    """Return this rank's share of the cores that it may run on, at least 1."""
    return max(1, _cores() // _local_ranks(environ))


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _local_ranks(environ) -> int:
    counts = (re.match(r"[1-9]\d*", environ.get(name, "")) for name in LOCAL_RANKS)
    return next((int(count[0]) for count in counts if count), 1)
