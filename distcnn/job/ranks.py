"""The ranks of a program of the user's that calls distcnn: all of the job, or this process alone."""

from __future__ import annotations

import atexit
import os
import re
import signal
import sys
import time
import traceback
from functools import cache, partial
from types import TracebackType

from distcnn.parallel.collective import collective_rank
from distcnn.parallel.comm import Comm
from distcnn.parallel.serial import SerialComm
from distcnn.parallel.ulfm import UlfmComm, rank_name, ulfm_comm
from distcnn.parallel.world import end_job, world
from distcnn.system.signals import INTERRUPTED
from distcnn.system.terminal_text import printable, say

# The variables in which launchers, known to `world` or not, say that they have started a process.
LAUNCHED = re.compile("(PMI|PMIX|PALS|FLUX|MV2|ALPS|MPI|OMPI_COMM_WORLD|SLURM_STEP)_.*")
PAUSE = 2.0  # seconds that a rank waits for rank 0, which may have the same exception, and prints it
LONG_PAUSE = 60.0  # seconds that a rank waits for the one that has this exception for sure, and prints it


@cache
def ranks() -> Comm:
    """Return the communicator of all ranks, the same one at each call, as it remembers which ranks have died.

    A process that no launcher has started, such as a notebook's, is alone, and MPI is not initialized. In a job of
    several ranks an exception that nobody catches on one rank ends the job from now on: others may wait for this rank.
    """
    uses_mpi = "mpi4py.MPI" in sys.modules
    if not uses_mpi and not any(LAUNCHED.fullmatch(name) for name in os.environ):
        return SerialComm()
    comm = ulfm_comm(world())
    if comm.size > 1:
        sys.excepthook = partial(end_program, comm)
    if isinstance(comm, UlfmComm):
        atexit.register(_leave_without_the_dead, comm)
    return comm


def _leave_without_the_dead(comm: UlfmComm) -> None:
    """End this process at its end without MPI's Finalize if a rank has died, as that may wait for the dead for ever."""
    if len(comm.alive) < comm.all.size:
        sys.stdout.flush()
        sys.stderr.flush()
        comm.rendezvous()
        os._exit(0)


def end_program(
    comm: Comm, kind: type[BaseException], error: BaseException, place: TracebackType | None
) -> None:
    """End the job because of an exception that has left the program on this rank; print its traceback once.

    comm: the communicator of all ranks.
    kind, error, place: as `sys.excepthook` gets them.

    An exception that several ranks have is printed by the rank on which it happened, or else by rank 0.
    """
    code = INTERRUPTED if isinstance(error, KeyboardInterrupt) else getattr(error, "exit_code", 1)
    origin = collective_rank(error)
    if comm.rank != (origin or 0):
        _wait(comm, PAUSE if origin is None else LONG_PAUSE)
    what = "" if code == INTERRUPTED else "".join(traceback.format_exception(kind, error, place))
    message = what + printable(f"distcnn: {rank_name(comm)} failed")
    if isinstance(comm, UlfmComm) and origin is None:  # the others go on without this rank
        say(message, sys.stderr, lines=True)
        time.sleep(0.1)  # Open MPI may lose output that was written just before
        os.kill(os.getpid(), signal.SIGKILL)
    end_job(comm, code, message)


def _wait(comm: Comm, seconds: float) -> None:
    """Wait for the rank that prints the exception and ends the job; with fault tolerance, end when it has done so."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if isinstance(comm, UlfmComm) and comm.Is_revoked():
            os._exit(1)
        time.sleep(0.05)
