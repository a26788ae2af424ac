"""The communicator of the job's ranks, and the only place where exceptions become exit codes.

Only `world()` imports MPI here, so that importing distcnn, and running one process without mpirun, need no MPI library.
"""

import os
import re
import signal
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
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
from distcnn.system.hidden_modules import USAGE_ERROR, explanation
from distcnn.system.signals import INTERRUPTED, interrupts_raise
from distcnn.system.terminal_text import printable, say
from distcnn.system.user_files import as_user_error

__all__ = ["barrier", "mark_collective", "on_all", "on_root", "run", "world"]

PAUSE = 3  # seconds that a rank waits for the rank that prints the error and ends the job
LAUNCHERS = (  # variables with the number of ranks, and with the number of this one
    ("PMI_SIZE", "PMI_RANK"),  # MPICH, Intel MPI, srun --mpi=pmi2
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),  # Open MPI
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),  # srun; last, as mpirun may start its own helpers with srun
)


def world() -> Comm:
    """Return the communicator of all ranks: COMM_WORLD, or a SerialComm for one process without an MPI library.

    Raises LaunchError when more ranks were started than the MPI library sees: under the mpirun of another MPI
    every rank sees only itself, and all ranks would do the whole work and overwrite each other's files.
    """
    started, _ = _launched(os.environ)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # mpi4py warns, once per rank, of what is checked below
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


def _launched(environ: Mapping[str, str]) -> tuple[int, int]:
    """Return the number of ranks that the launcher has started, and the number of this rank."""
    for size, rank in LAUNCHERS:
        if size in environ:
            return _whole(environ, size, 1), _whole(environ, rank, 0)
    return 1, 0


def _whole(environ: Mapping[str, str], name: str, least: int) -> int:
    """Return the number in an environment variable of a launcher, `least` without it; raise LaunchError for others."""
    value = environ.get(name, str(least))
    if not re.fullmatch(r"\d{1,9}", value, re.ASCII) or int(value) < least:
        raise LaunchError(
            f"the environment variable {name} is {value!r}; wanted is a whole number from {least} on, as mpirun "
            f"sets it: unset {name}"
        )
    return int(value)


def run(main: Callable[[Comm], int | None]) -> NoReturn:
    """Call `main(comm)` and exit with the code that it returns (None: 0), or with the exit code of its exception.

    If all ranks raise an exception together, rank 0 prints its message in one line. The rank on which any other
    exception happened prints the traceback and ends the job at once, because other ranks may be waiting for this rank.
    """
    try:
        comm = ulfm_comm(world())
    except LaunchError as error:  # no communicator: only the launcher's variables give the rank
        rank = 0
        with suppress(LaunchError):
            _, rank = _launched(os.environ)
        if rank > 0:
            time.sleep(PAUSE)
        _leave(SerialComm(), *_verdict(error), prints=rank == 0)
    try:
        interrupts_raise()
        retry_on_rank_failure(comm, barrier, comm)
        if comm.rank == 0:
            job_status.write(job_status.STARTED)
        code, message = main(comm) or 0, ""
    except KeyboardInterrupt:
        end_job(comm, INTERRUPTED, "")
    except failures(comm) as error:
        end_job(comm, 1, f"distcnn: {rank_name(comm)} ends, as another rank has died or failed: {error}")
    except BaseException as error:
        together, cause = comm.size == 1 or collective_rank(error) is not None, as_user_error(_cause(error))
        if not (together and isinstance(cause, DistcnnError | SystemExit)):
            _fail(comm, cause, is_remote(error))
        code, message = _verdict(cause)
    _leave(comm, code, message, prints=comm.rank == 0)


def _cause(error: BaseException) -> BaseException:
    """Return the exception that a CollectiveError wraps, or any other exception itself."""
    return error.cause if isinstance(error, CollectiveError) else error


def _verdict(error: BaseException) -> tuple[int, str]:
    """Return the exit code and the message of a collective exception."""
    cause = _cause(error)
    if isinstance(cause, SystemExit):
        return int(cause.code or 0), ""
    where = f" (on rank {collective_rank(error)})" if collective_rank(error) else ""
    return getattr(error, "exit_code", 1), printable(f"distcnn: error: {error}{where}")


def _leave(comm: Comm, code: int, message: str, prints: bool) -> NoReturn:
    """Exit together with all ranks, because launchers end the job when the first rank exits with an error."""
    _print(message if prints else "")
    if prints:
        job_status.write(f"{job_status.EXIT} {code}")
    if isinstance(comm, UlfmComm):
        comm.rendezvous(comm.Is_revoked)
    else:
        barrier(comm)
    _exit(comm, code)


def _fail(comm: Comm, error: BaseException, remote: bool) -> NoReturn:
    """End the job because of an exception on only this rank, or one that distcnn does not expect."""
    if remote:
        time.sleep(PAUSE)
    what = "".join(traceback.format_exception(error))
    who = f"distcnn: {rank_name(comm)} on {socket.gethostname()} failed"
    hidden = explanation(error.__traceback__)
    if isinstance(error, DistcnnError):
        what = printable(f"distcnn: error: {error}") + "\n"
        job_status.write(f"{job_status.EXIT} {error.exit_code}")
    elif hidden:
        end_job(comm, USAGE_ERROR, printable(hidden))
    end_job(comm, getattr(error, "exit_code", 1), what + printable(who))


def end_job(comm: Comm, code: int, message: str) -> NoReturn:
    """Print a message, and end the job from this rank, whatever the others are doing."""
    _print(message)
    if comm.size > 1:
        time.sleep(0.1)  # Open MPI may lose output that was written just before
        if isinstance(comm, UlfmComm):
            comm.Revoke()  # Abort would end only this rank, and no other rank would learn of it
            time.sleep(0.1)
            if code == INTERRUPTED:  # other ranks may be training, and MPI reports only a death by signal
                os.kill(os.getpid(), signal.SIGKILL)
        else:
            comm.Abort(code)
    _exit(comm, code)


def _exit(comm: Comm, code: int) -> NoReturn:
    """Exit; if ranks may have died, without MPI's Finalize, which waited for dead ranks in 2 of 40 runs.

    Otherwise exit by `sys.exit`, although that takes 0.2 s: MPICH's mpirun sometimes killed ranks that left at once
    after Finalize, and then returned an exit code of its own.
    """
    if isinstance(comm, UlfmComm):
        os._exit(code)
    sys.exit(code)


def _print(message: str) -> None:
    """Flush stdout, then print a message, if it is not empty, on stderr."""
    with suppress(OSError, AttributeError):  # closed streams, as under daemons
        sys.stdout.flush()
    if message and sys.stderr:
        say(message, sys.stderr, lines=True)
