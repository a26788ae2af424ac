"""The ranks of this job, and how it ends: the one place where exceptions become exit codes.

MPI is imported by `world()` only, so that importing distcnn, and running one process without mpirun, work without an
MPI library.
"""

import os
import signal
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from distcnn.errors import DistcnnError, LaunchError
from distcnn.parallel.collective import (
    CollectiveError,
    barrier,
    collective_rank,
    is_remote,
    mark_collective,
    on_all,
    on_root,
)
from distcnn.parallel.comm import Comm
from distcnn.parallel.retry import retry_on_rank_failure
from distcnn.parallel.serial import SerialComm
from distcnn.parallel.ulfm import UlfmComm, failures, rank_name, ulfm_comm
from distcnn.system import job_status

__all__ = ["barrier", "mark_collective", "on_all", "on_root", "run", "world"]

INTERRUPTED = 130  # what a shell reports for Ctrl-C
PAUSE = 3  # seconds that a rank waits for the one that prints what happened, and then ends the job
LAUNCHERS = (  # where a launcher says how many ranks it has started, and which one this is
    ("PMI_SIZE", "PMI_RANK"),  # MPICH, Intel MPI, srun --mpi=pmi2
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),  # Open MPI
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),  # srun; last, as mpirun may start its own helpers with srun
)


def world() -> Comm:
    """Return the communicator of all ranks: COMM_WORLD, or a SerialComm for one process without an MPI library.

    Raises LaunchError when more ranks were started than the MPI library sees: under the mpirun of another MPI
    every rank sees itself alone, and all would do the whole work and overwrite each other's files.
    """
    started, _ = _launched(os.environ)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # mpi4py's own warning of what is checked below, once per rank
            from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: mpi4py without a library to load
        if started == 1:
            return SerialComm()
        raise LaunchError(
            f"{started} ranks were started, but mpi4py finds no MPI library ({str(error).splitlines()[0]}): "
            "pip install mpich, or set MPI4PY_LIBMPI"
        ) from error
    comm = MPI.COMM_WORLD
    if comm.size < started:
        raise LaunchError(
            f"{started} ranks were started, but the MPI library ({MPI.get_vendor()[0]}) sees {comm.size}: "
            f"it needs its own mpirun, perhaps the one in {os.path.dirname(sys.executable)}"
        )
    return comm


def _launched(environ) -> tuple[int, int]:
    """Return how many ranks the launcher has started, and the number of this one."""
    for size, rank in LAUNCHERS:
        if size in environ:
            return int(environ[size]), int(environ.get(rank, 0))
    return 1, 0


def run(main: Callable[[Comm], int | None]) -> NoReturn:
    """Call `main(comm)` and exit with the code that it returns (None: 0), or that its exception stands for.

    Rank 0 prints an exception that all ranks raise together, in one line. The rank on which any other exception
    happened prints its traceback and ends the job there and then, as other ranks may be waiting for this one.
    """
    try:
        comm = ulfm_comm(world())
    except LaunchError as error:  # no communicator: a rank knows only what its launcher says
        _, rank = _launched(os.environ)
        if rank > 0:
            time.sleep(PAUSE)
        _leave(SerialComm(), *_verdict(error), prints=rank == 0)
    try:
        retry_on_rank_failure(comm, barrier, comm)
        if comm.rank == 0:
            job_status.write(job_status.STARTED)
        code, message = main(comm) or 0, ""
    except KeyboardInterrupt:
        _end(comm, INTERRUPTED, "")
    except failures(comm) as error:
        _end(comm, 1, f"distcnn: {rank_name(comm)} ends, as another has died or failed: {error}")
    except BaseException as error:
        together, cause = comm.size == 1 or collective_rank(error) is not None, _cause(error)
        if not (together and isinstance(cause, DistcnnError | SystemExit)):
            _fail(comm, cause, is_remote(error))
        code, message = _verdict(error)
    _leave(comm, code, message, prints=comm.rank == 0)


def _cause(error: BaseException) -> BaseException:
    return error.cause if isinstance(error, CollectiveError) else error


def _verdict(error: BaseException) -> tuple[int, str]:
    """Return the exit code that a collective exception stands for, and what to print."""
    cause = _cause(error)
    if isinstance(cause, SystemExit):
        return int(cause.code or 0), ""
    where = f" (on rank {collective_rank(error)})" if collective_rank(error) else ""
    return getattr(error, "exit_code", 1), f"distcnn: error: {error}{where}"


def _leave(comm, code: int, message: str, prints: bool) -> NoReturn:
    """Exit together, as launchers end the job at the first rank that exits with an error."""
    _print(message if prints else "")
    if prints:
        job_status.write(f"{job_status.EXIT} {code}")
    if isinstance(comm, UlfmComm):
        comm.rendezvous(comm.Is_revoked)
    else:
        barrier(comm)
    _exit(comm, code)


def _fail(comm, error: BaseException, remote: bool) -> NoReturn:
    """End the job for an exception of this rank alone, or one that distcnn does not expect."""
    if remote:
        time.sleep(PAUSE)
    what = "".join(traceback.format_exception(error))
    who = f"distcnn: {rank_name(comm)} on {socket.gethostname()} failed"
    if isinstance(error, DistcnnError):
        what = f"distcnn: error: {error}\n"
        job_status.write(f"{job_status.EXIT} {error.exit_code}")
    _end(comm, getattr(error, "exit_code", 1), what + who)


def _end(comm, code: int, message: str) -> NoReturn:
    """End the job from this rank, whatever the others are doing."""
    _print(message)
    if comm.size > 1:
        time.sleep(0.1)  # Open MPI may lose what was written just before
        if isinstance(comm, UlfmComm):
            comm.Revoke()  # Abort would end this rank alone, and no other rank would learn of it
            time.sleep(0.1)
            if code == INTERRUPTED:  # the others may be training, and MPI reports only a death by signal
                os.kill(os.getpid(), signal.SIGKILL)
        else:
            comm.Abort(code)
    _exit(comm, code)


def _exit(comm, code: int) -> NoReturn:
    """Exit, where ranks may have died without MPI's Finalize: it would wait for them, seen in 2 of 40 runs.

    Elsewhere by Python's own way out, though it takes 0.2 s: ranks that left at once after Finalize were killed by
    MPICH's mpirun now and then, which then returned its own code.
    """
    if isinstance(comm, UlfmComm):
        os._exit(code)
    sys.exit(code)


def _print(message: str) -> None:
    with suppress(OSError, AttributeError):  # streams that are closed, as under daemons
        sys.stdout.flush()
    if message and sys.stderr:
        print(message, file=sys.stderr, flush=True)
