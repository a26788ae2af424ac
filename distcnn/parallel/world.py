"""The ranks of this job, and how it ends: the one place where exceptions become exit codes.

MPI is imported only when the world is asked for, so that importing distcnn, and running one process without
mpirun, work without an MPI library.
"""

import os
import socket
import sys
import time
import traceback
import warnings
from typing import NoReturn

from distcnn.errors import DistcnnError, LaunchError
from distcnn.parallel.agreement import agreed, agreed_rank, is_echo, on_all, on_root, wait
from distcnn.parallel.alone import Alone

__all__ = ["agreed", "node", "node_count", "on_all", "on_root", "run", "wait", "world"]

INTERRUPTED = 130  # what a shell reports for Ctrl-C
ECHO_PAUSE = 5  # seconds in which the rank that an exception happened on should have ended the job
LAUNCHERS = (  # how many ranks a launcher has started, and which one this is
    ("PMI_SIZE", "PMI_RANK"),  # MPICH, Intel MPI, srun --mpi=pmi2
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),  # Open MPI
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),  # srun; last, as mpirun may start its helpers with srun
)


def world():
    """Return the communicator of all ranks: COMM_WORLD, or Alone() for one process without an MPI library.

    Raises LaunchError when more ranks were started than the MPI library sees: under the mpirun of another MPI
    every rank is a world of its own, and all would do the whole work and overwrite each other's files.
    """
    started, _ = _started(os.environ)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # mpi4py's own words on what is checked below, once per rank
            from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: mpi4py without a library to load
        expected = isinstance(error, DistcnnError | SystemExit)
        shared = comm.size == 1 or agreed_rank(error) is not None
        if not (expected and shared):
            _fail(comm, error)
        code, message = _verdict(error)
    _leave(comm, code, message if comm.rank == 0 else "")


def _verdict(error) -> tuple[int, str]:
    """Return the exit code that an agreed exception stands for, and its message."""
    if isinstance(error, SystemExit):
        return error.code or 0, ""
    where = f" (on rank {error.agreed_rank})" if agreed_rank(error) else ""
    return error.exit_code, f"distcnn: error: {error}{where}"


def _fail(comm, error) -> NoReturn:
    """End the job because of what happened on this rank only, or of what distcnn did not expect."""
    if is_echo(error):
        time.sleep(ECHO_PAUSE)
    if isinstance(error, DistcnnError):
        what = f"distcnn: error: {error}\n"
    else:
        what = "".join(traceback.format_exception(error))
    who = f"distcnn: rank {comm.rank} of {comm.size} on {socket.gethostname()} failed"
    _end(comm, getattr(error, "exit_code", 1), what + who)


def _leave(comm, code: int, message: str) -> NoReturn:
    """Exit together, as a launcher ends the job at the first rank that exits with an error."""
    _say(message)
    wait(comm)
    sys.exit(code)


def _end(comm, code: int, message: str) -> NoReturn:
    """End the job from this rank, whatever the others are doing."""
    _say(message)
    if comm.size > 1:
        time.sleep(0.1)  # Open MPI may lose what was written just before
        comm.Abort(code)
    sys.exit(code)


def _say(message: str) -> None:
    sys.stdout.flush()
    if message:
        print(message.rstrip(), file=sys.stderr, flush=True)
