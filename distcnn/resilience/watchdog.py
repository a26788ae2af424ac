"""The watchdog: a thread on each rank that kills a rank which hangs, and prints its number and its stack.

The watchdog reads the heartbeats of its node. A rank hangs if it computes for too long; ranks that wait for it are in
the phase WAITING. A hung rank's own watchdog prints its stack and kills it. If that thread cannot run, because the
process is stopped or stuck in a library, the watchdog of another rank on the node does so. A killed rank cannot wake up
later and overwrite files. The remaining ranks recover, see `recovery`; if one failed rank ends the job, the
launcher restarts it.
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
from distcnn.system.terminal_text import say

STDERR = 2  # the file descriptor
GRACE = 1.0  # seconds that a hung rank's own watchdog has before another rank's watchdog kills the rank


class Watchdog:
    """Kills the ranks of this node that hang, inside `watching()`.

    heartbeat: of this rank.
    size: the number of ranks of the job, for messages.
    timeout: seconds without a heartbeat after which a rank is considered hung; 0: no rank is killed.
    """

    def __init__(self, heartbeat: Heartbeat, size: int, timeout: float = 0.0):
        self._heartbeat, self._node, self._size = heartbeat, heartbeat.node, size
        self._processes = [_handle(pid) for pid in heartbeat.pids]
        self._timeout, self._ended = timeout, threading.Event()
        self._thread: threading.Thread | None = None
        self._looked = CLOCK()  # when the thread last looked at the heartbeats
        self._late_step: int | None = None  # the step in which this process was stopped for too long

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Run the watchdog's thread inside the block, if there is a timeout."""
        enables = bool(self._timeout) and not faulthandler.is_enabled()
        if enables:
            faulthandler.enable(_stderr())
        if self._timeout:
            self._looked = CLOCK()
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()
        try:
            yield
        finally:
            self._heartbeat.beat(IDLE)
            self._end_watching()
            if enables:
                faulthandler.disable()

    def woke_late(self) -> bool:
        """Return whether this process was stopped, in this step or the one before, for longer than the timeout."""
        stopped = self._thread is not None and CLOCK() - self._looked > 1e9 * self._timeout
        return stopped or (self._late_step is not None and self._heartbeat.own.step <= self._late_step + 1)

    def _end_watching(self) -> None:
        """End the thread, and close what stands for the processes that it may kill."""
        self._ended.set()
        if self._thread:
            self._thread.join(GRACE)
        if self._thread is None or not self._thread.is_alive():
            handles, self._processes = self._processes, [None] * len(self._processes)
            for handle in filter(None, handles):
                os.close(handle)

    def _watch(self) -> None:
        """Check the heartbeats again and again, until `watching()` ends."""
        pause = min(max(self._timeout / 8, 0.02), 5)
        woken = self._looked = CLOCK()
        while not self._ended.wait(pause):
            now = CLOCK()
            if now - self._looked > 5e9 * pause:
                woken = now  # this process, perhaps the whole job, was stopped: all timeouts start again
            if now - self._looked > 1e9 * self._timeout:
                self._late_step = self._heartbeat.own.step
            self._looked = now
            self._look(now, woken)

    def _look(self, now: int, woken: int) -> None:
        """Kill the ranks that hang: this one, or another one of this node whose own watchdog has not killed it.

        now: the time, by CLOCK.
        woken: when this process last resumed after it was stopped; timeouts count from then.
        """
        mine, places = self._node.place, range(len(self._node.ranks))
        beats = [self._heartbeat.read(k) for k in places]
        late = [(now - max(beat.since, woken)) * 1e-9 - self._timeout for beat in beats]
        busy = [beat.phase not in (IDLE, WAITING) for beat in beats]
        if busy[mine] and late[mine] > 0:
            self._end(mine, "hangs")
            os.kill(os.getpid(), signal.SIGKILL)
        elif beats[mine].phase == WAITING and late[mine] > self._timeout + 2 * GRACE:
            self._end(mine, "gets no answer, as if a whole host had stopped")
            os._exit(1)  # not by a signal: no rank can continue, and the job has failed
        hung = [k for k in places if busy[k] and late[k] > GRACE]
        sound = [k for k in places if k not in hung and _alive(self._processes[k])]
        for k in hung:
            if sound[:1] == [mine] and _alive(self._processes[k]):
                self._end(k, "hangs, and its own watchdog does not run")

    def _end(self, place: int, what: str) -> None:
        """Print why a rank of this node is killed, and its stacks; kill it unless it is this one.

        place: the index of the rank on the node.
        what: the problem, as a predicate.
        """
        beat, who = self._heartbeat.read(place), f"rank {self._node.ranks[place]} of {self._size}"
        seconds = (CLOCK() - beat.since) * 1e-9
        where = f"{seconds:.1f} s {PHASES[beat.phase]}, step {beat.step}"
        message = f"distcnn: {who} on {socket.gethostname()} {what}: {where}; it is killed"
        say(message, sys.stderr)
        if place == self._node.place:
            faulthandler.dump_traceback(_stderr(), all_threads=True)
            time.sleep(0.1)  # Open MPI may lose output that was written just before
            return
        process = self._processes[place]
        assert process is not None  # as only a process that `_alive` knows is killed
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGABRT)  # faulthandler prints its stacks
            time.sleep(0.1)
            signal.pidfd_send_signal(process, signal.SIGKILL)


def _stderr() -> int:
    """Return the file descriptor of stderr, also where `sys.stderr` has none, as in a notebook."""
    try:
        return sys.stderr.fileno()
    except (OSError, AttributeError, ValueError):
        return STDERR


def _handle(pid: int) -> int | None:
    """Return a file descriptor that stands for a process, or None if the system has none or cannot see the process."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # not Linux, or in another container
        return None


def _alive(handle: int | None) -> bool:
    """Return whether a process can still be signaled; False without a handle."""
    if handle is None:
        return False
    try:
        signal.pidfd_send_signal(handle, 0)
    except ProcessLookupError:
        return False
    return True
