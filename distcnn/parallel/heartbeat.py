"""Heartbeats: each rank writes what it is doing, for which step and since when, where all ranks of its node read it."""

from __future__ import annotations

import os
import time
from typing import NamedTuple

from distcnn.parallel.comm import Comm
from distcnn.parallel.node import node
from distcnn.parallel.shared_memory import common_memory

PHASES = "idle", "computing", "waiting for other ranks", "evaluating", "writing"
IDLE, COMPUTING, WAITING, EVALUATING, WRITING = range(len(PHASES))
SINCE, STEP, PHASE, WORDS = 0, 1, 2, 8  # of a rank: 64-bit words in a cache line of their own
CLOCK = time.monotonic_ns  # the same on all ranks of a node


class Beat(NamedTuple):
    """What a rank is doing: since when (see CLOCK), for which step, and the phase, one of `PHASES` by number."""

    since: int
    step: int
    phase: int


class Heartbeat:
    """The heartbeats of the ranks of this node. Making one is collective.

    node: this rank's node.
    pids: the processes of its ranks, in order.
    waited: seconds that this rank has waited for others, since somebody last set it to 0.
    """

    def __init__(self, comm: Comm):
        self.node, self.waited = node(comm), 0.0
        self.pids = self.node.own(comm.allgather(os.getpid()))
        ranks = len(self.node.ranks)
        words = memoryview(common_memory(comm, self.node, 8 * WORDS * ranks, all_write=True)).cast("q")
        self._rows = [words[WORDS * k : WORDS * (k + 1)] for k in range(ranks)]
        self._row = self._rows[self.node.place]

    def beat(self, phase: int, step: int | None = None) -> None:
        """Write what this rank does from now on; step: for which step, if that is another one."""
        row, now = self._row, CLOCK()
        if row[PHASE] == WAITING:
            self.waited += (now - row[SINCE]) * 1e-9
        row[SINCE] = now  # before the phase, so that no reader sees a new phase with an old time
        if step is not None:
            row[STEP] = step
        row[PHASE] = phase

    @property
    def own(self) -> Beat:
        """What this rank is doing."""
        return self.read(self.node.place)

    def read(self, place: int) -> Beat:
        """Return what the rank at a place of this node is doing."""
        row = self._rows[place]
        phase = row[PHASE]  # before the time, which may then only be newer
        return Beat(row[SINCE], row[STEP], phase)
