"""The watchdog: a thread on each rank that ends a rank which hangs, and prints which one and where.

It reads the heartbeats of its node. A rank that computes for too long hangs: ranks that wait for it are in the phase
WAITING. Its own watchdog prints its stack and kills it. Where that thread cannot run, because the process is stopped or
stuck in a library, the watchdog of another rank of its node does the same from outside. A killed rank overwrites
nothing when it wakes. The remaining ranks recover, see `recovery`; where one failed rank ends the job, the launcher
starts it again.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from distcnn.parallel.heartbeat import CLOCK, IDLE, PHASES, WAITING, Heartbeat

GRACE = 1.0  # seconds that a hung rank's own watchdog has before that of another rank helps


class Watchdog:
    """Ends the ranks of this node that hang, inside `watching()`.

    heartbeat: of this rank.
    size: how many ranks the job has.
    timeout: seconds without a heartbeat after which a rank hangs; 0: no rank is ended.
    """

    def __init__(self, heartbeat: Heartbeat, size: int, timeout: float = 0.0):
        self._heartbeat, self._node, self._size = heartbeat, heartbeat.node, size
        self._processes = [_handle(pid) for pid in heartbeat.pids]
        self._timeout, self._ended = timeout, threading.Event()
        self._thread: threading.Thread | None = None
        self._looked = CLOCK()  # when the thread last looked at the heartbeats
        self._woken_in: int | None = (
            None  # the step in which it found that this process had been stopped for long
        )

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch inside the block."""
        if self._timeout:
            faulthandler.enable()
            self._looked = CLOCK()
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()
        try:
            yield
        finally:
            self._heartbeat.beat(IDLE)
            self._ended.set()

    def woke_late(self) -> bool:
        """Return whether this process was stopped, in this step or the one before, for longer than others wait."""
        stopped = self._thread is not None and CLOCK() - self._looked > 1e9 * self._timeout
        return stopped or (self._woken_in is not None and self._heartbeat.own.step <= self._woken_in + 1)

    def _watch(self):
        pause = min(max(self._timeout / 8, 0.02), 5)
        woken = self._looked = CLOCK()
        while not self._ended.wait(pause):
            now = CLOCK()
            if now - self._looked > 5e9 * pause:
                woken = now  # this process was stopped, perhaps the whole job: all timeouts begin again
            if now - self._looked > 1e9 * self._timeout:
                self._woken_in = self._heartbeat.own.step
            self._looked = now
            self._look(now, woken)

    def _look(self, now, woken):
        """End the ranks that hang: this one, or one of this node whose own watchdog has not ended it."""
        mine, places = self._node.place, range(len(self._node.ranks))
        beats = [self._heartbeat.read(k) for k in places]
        late = [(now - max(beat.since, woken)) * 1e-9 - self._timeout for beat in beats]
        busy = [beat.phase not in (IDLE, WAITING) for beat in beats]
        if busy[mine] and late[mine] > 0:
            self._end(mine, "hangs")
            os.kill(os.getpid(), signal.SIGKILL)
        elif beats[mine].phase == WAITING and late[mine] > self._timeout + 2 * GRACE:
            self._end(mine, "gets no answer, as if a whole host were frozen")
            os._exit(1)  # no death by signal: no rank is there to go on, and the job has failed
        hung = [k for k in places if busy[k] and late[k] > GRACE]
        sound = [k for k in places if k not in hung and _alive(self._processes[k])]
        for k in hung:
            if sound[:1] == [mine] and _alive(self._processes[k]):
                self._end(k, "hangs and does not even end itself")

    def _end(self, place, what):
        """Print what a rank of this node does not do, and its stacks; kill it, unless it is this one."""
        beat, who = self._heartbeat.read(place), f"rank {self._node.ranks[place]} of {self._size}"
        seconds = (CLOCK() - beat.since) * 1e-9
        print(
            f"distcnn: {who} on {socket.gethostname()} {what}: {seconds:.1f} s {PHASES[beat.phase]}, step "
            f"{beat.step}; it is killed",
            file=sys.stderr,
            flush=True,
        )
        if place == self._node.place:
            faulthandler.dump_traceback(all_threads=True)
            time.sleep(0.1)  # Open MPI may lose what was written just before
            return
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._processes[place], signal.SIGABRT)  # faulthandler prints its stacks
            time.sleep(0.1)
            signal.pidfd_send_signal(self._processes[place], signal.SIGKILL)


def _handle(pid):
    """Return a handle to a process that no other process inherits, or None where there is no such thing."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # not Linux, or in another container
        return None


def _alive(handle):
    """Return whether a process can still be signalled, as far as the operating system says."""
    if handle is None:
        return False
    try:
        signal.pidfd_send_signal(handle, 0)
    except ProcessLookupError:
        return False
    return True
