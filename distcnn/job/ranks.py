"""The ranks of a program of the user's that calls distcnn: all of the job, or this process alone."""

from __future__ import annotations

import atexit
import os
import re
import signal
import sys
import time
import traceback
from contextlib import suppress
from functools import cache, partial
from types import TracebackType
from typing import NoReturn

from distcnn.parallel.collective import collective_rank
from distcnn.parallel.comm import Comm
from distcnn.parallel.point_to_point import EMPTY
from distcnn.parallel.serial import SerialComm
from distcnn.parallel.ulfm import UlfmComm, failures, rank_name, ulfm_comm
from distcnn.parallel.world import end_job, world
from distcnn.system.signals import INTERRUPTED
from distcnn.system.terminal_text import printable, say

# The variables in which launchers, known to `world` or not, say that they have started a process.
LAUNCHED = re.compile("(PMI|PMIX|PALS|FLUX|MV2|ALPS|MPI|OMPI_COMM_WORLD|SLURM_STEP)_.*")
PAUSE = 2.0  # seconds that a rank waits for rank 0, which may have the same exception, and prints it
FAILED = 4711  # the tag of the messages of ranks that have an exception
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

    An exception that all ranks have is printed by the rank on which it happened, or else by rank 0. With fault
    tolerance, the other ranks go on without a rank that has an exception of its own.
    """
    code = INTERRUPTED if isinstance(error, KeyboardInterrupt) else getattr(error, "exit_code", 1)
    origin = collective_rank(error)
    what = "" if code == INTERRUPTED else "".join(traceback.format_exception(kind, error, place))
    message = what + printable(f"distcnn: {rank_name(comm)} failed")
    if isinstance(comm, UlfmComm):
        _end_tolerant(comm, code, message, origin)
    if comm.rank != (origin or 0):
        time.sleep(PAUSE if origin is None else LONG_PAUSE)
    end_job(comm, code, message)


def _end_tolerant(comm: UlfmComm, code: int, message: str, origin: int | None) -> NoReturn:
    """End this rank, which has an exception, where the other ranks can go on without it.

    origin: the rank on which the exception happened that all ranks have; None: only this rank has it.
    """
    everywhere = origin is not None or _fails_everywhere(comm)
    if not everywhere or comm.rank == (origin or 0):
        say(message, sys.stderr, lines=True)
    time.sleep(0.1)  # Open MPI may lose output that was written just before
    if not everywhere:
        os.kill(os.getpid(), signal.SIGKILL)  # other ranks learn only of a death by signal
    end = time.monotonic() + LONG_PAUSE
    comm.rendezvous(lambda: time.monotonic() > end)
    os._exit(code)


def _fails_everywhere(comm: UlfmComm) -> bool:
    """Return whether all ranks that are alive call this, within PAUSE."""
    pending = []
    with suppress(*failures(comm)):
        for other in set(comm.alive) - {comm.all.rank}:
            pending += [comm.all.Irecv(EMPTY.copy(), other, FAILED), comm.all.Isend(EMPTY, other, FAILED)]
        end = time.monotonic() + PAUSE
        while time.monotonic() < end:
            if all(request.Test() for request in pending):
                return True
            time.sleep(0.01)
    return False
