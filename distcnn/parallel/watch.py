"""Who hangs is named and ended: each rank notes what it does, and a thread on each reads the notes of its node.

A rank that computes for too long is hung, for those that merely wait for it note that they wait. Its own thread tells
its stack and kills it. Where that thread cannot run, for the process is stopped or stuck in a library, a neighbour on
its node does the same from outside. A killed rank overwrites nothing when it wakes; what follows is the others' matter:
see survival.py, or the launcher, where one death ends the job.
"""

import faulthandler
import os
import signal
import socket
import sys
import threading
import time
from contextlib import contextmanager, suppress

from distcnn.parallel.node import node
from distcnn.parallel.shared_memory import common_memory

PHASES = "idle", "computing", "waiting for other ranks", "evaluating", "writing"
IDLE, COMPUTING, WAITING, EVALUATING, WRITING = range(len(PHASES))
SINCE, STEP, PHASE, WORDS = 0, 1, 2, 8  # a rank's notes: 64-bit words in a cache line of their own
GRACE = 1.0  # seconds that a hung rank's own thread has before a neighbour helps
CLOCK = time.monotonic_ns  # the same on all ranks of a node


class Watch:
    """This rank's notes, and an eye on those of its node. waited: seconds spent waiting since it was last set to 0.

    Making one is collective. patience: seconds; 0: nothing is ended, the time waited is still measured.
    """

    def __init__(self, comm, hang_timeout=0.0):
        here = node(comm)
        self._mine, self._ranks, self._size = here.place, here.ranks, comm.size
        memory = common_memory(comm, here, 8 * WORDS * len(here.ranks), all_write=True)
        words = memoryview(memory).cast("q")
        self._rows = [words[WORDS * k : WORDS * (k + 1)] for k in range(len(here.ranks))]
        self._row = self._rows[self._mine]
        self._processes = [_handle(pid) for pid in here.own(comm.allgather(os.getpid()))]
        self._timeout, self._ended = hang_timeout, threading.Event()
        self._thread, self._seen = None, CLOCK()  # who looks at the notes, and when it last did
        self._woken_in = None  # the step in which it found that this process had been stopped for long
        self.waited = 0.0

    def note(self, phase, step=None):
        """Note what this rank does from now on, and for which step."""
        now = CLOCK()
        if self._row[PHASE] == WAITING:
            self.waited += (now - self._row[SINCE]) * 1e-9
        self._row[SINCE] = now  # before the phase, so that no reader sees a new phase with an old time
        if step is not None:
            self._row[STEP] = step
        self._row[PHASE] = phase

    @contextmanager
    def watching(self):
        """Watch inside the block."""
        if self._timeout:
            faulthandler.enable()
            self._seen = CLOCK()
            self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)
            self._thread.start()
        try:
            yield
        finally:
            self.note(IDLE)
            self._ended.set()

    def woke_late(self):
        """Return whether this process was stopped, in this step or the one before, for longer than others wait."""
        stopped = self._thread is not None and CLOCK() - self._seen > 1e9 * self._timeout
        return stopped or (self._woken_in is not None and self._row[STEP] <= self._woken_in + 1)

    def _watch(self):
        pause = min(max(self._timeout / 8, 0.02), 5)
        woken = self._seen = CLOCK()
        while not self._ended.wait(pause):
            now = CLOCK()
            if now - self._seen > 5e9 * pause:
                woken = now  # this process was stopped, perhaps the whole job: all begin anew
            if now - self._seen > 1e9 * self._timeout:
                self._woken_in = self._row[STEP]
            self._seen = now
            self._judge(now, woken)

    def _judge(self, now, woken):
        """End whoever hangs: this rank, or a neighbour that has not done so itself."""
        late = [(now - max(row[SINCE], woken)) * 1e-9 - self._timeout for row in self._rows]
        busy = [row[PHASE] not in (IDLE, WAITING) for row in self._rows]
        if busy[self._mine] and late[self._mine] > 0:
            self._end(self._mine, "hangs")
            os.kill(os.getpid(), signal.SIGKILL)
        elif self._row[PHASE] == WAITING and late[self._mine] > self._timeout + 2 * GRACE:
            self._end(self._mine, "gets no answer, as if a whole host were frozen")
            os._exit(1)  # no death by signal: nobody is there to go on, and the job has failed
        hung = [k for k, row in enumerate(self._rows) if busy[k] and late[k] > GRACE]
        sound = [k for k in range(len(self._rows)) if k not in hung and _alive(self._processes[k])]
        for k in hung:
            if sound[:1] == [self._mine] and _alive(self._processes[k]):
                self._end(k, "hangs and does not even end itself")

    def _end(self, k, what):
        """Say what a rank of this node does not do, tell its stacks, and kill it, unless it is this one."""
        row = self._rows[k]
        seconds, who = (CLOCK() - row[SINCE]) * 1e-9, f"rank {self._ranks[k]} of {self._size}"
        _say(
            f"distcnn: {who} on {socket.gethostname()} {what}: {seconds:.1f} s {PHASES[row[PHASE]]}, step "
            f"{row[STEP]}; it is killed"
        )
        if k == self._mine:
            faulthandler.dump_traceback(all_threads=True)
            time.sleep(0.1)  # Open MPI may lose what was written just before
            return
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._processes[k], signal.SIGABRT)  # faulthandler tells its stacks
            time.sleep(0.1)
            signal.pidfd_send_signal(self._processes[k], signal.SIGKILL)


def _handle(pid):
    """Return a handle to a process that no other process inherits, or None where there is no such thing."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # not Linux, or in another container
        return None


def _alive(handle):
    """Return whether a process can still be signalled, as far as can be told."""
    if handle is None:
        return False
    try:
        signal.pidfd_send_signal(handle, 0)
    except ProcessLookupError:
        return False
    return True


def _say(text):
    print(text, file=sys.stderr, flush=True)
