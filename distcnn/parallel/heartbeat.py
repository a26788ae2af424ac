"""Heartbeats: each rank writes its phase, its step and a time into memory that all ranks of its node read."""

from __future__ import annotations

import os
import time
from typing import NamedTuple

from distcnn.parallel.comm import Comm
from distcnn.parallel.node import node
from distcnn.parallel.shared_memory import common_memory

PHASES = "idle", "computing", "waiting for other ranks", "evaluating", "writing"
IDLE, COMPUTING, WAITING, EVALUATING, WRITING = range(len(PHASES))
SINCE, STEP, PHASE, WORDS = 0, 1, 2, 8  # 64-bit words of a rank, which has a cache line of its own
CLOCK = time.monotonic_ns  # the same on all ranks of a node


class Beat(NamedTuple):
    """What a rank is doing.

    since: when the phase began or was last confirmed, by CLOCK.
    step: the number of the step, from 1.
    phase: an index into `PHASES`.
    """

    since: int
    step: int
    phase: int


class Heartbeat:
    """The heartbeats of the ranks of this node. Making one is collective.

    node: this rank's node.
    pids: the process numbers of its ranks, in order.
    waited: seconds that this rank has waited for other ranks; the caller resets it.
    """

    def __init__(self, comm: Comm):
        self.node, self.waited = node(comm), 0.0
        self.pids = self.node.own(comm.allgather(os.getpid()))
        ranks = len(self.node.ranks)
        words = memoryview(common_memory(comm, self.node, 8 * WORDS * ranks, all_write=True)).cast("q")
        self._rows = [words[WORDS * k : WORDS * (k + 1)] for k in range(ranks)]
        self._row = self._rows[self.node.place]

    def beat(self, phase: int, step: int | None = None) -> None:
        """Write what this rank is doing.

        phase: an index into `PHASES`.
        step: the number of the step if it has changed, else None.
        """
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
        """Return what the rank with this index on the node is doing."""
        row = self._rows[place]
        phase = row[PHASE]  # read before the time, which can then only be newer
        return Beat(row[SINCE], row[STEP], phase)
