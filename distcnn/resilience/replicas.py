"""All ranks' replicas are the same bits: compared every so often, brought to one state when a rank or bit is lost.

One case is not covered: a bit is lost in a replica, and before the next comparison a rank dies within a sum that just
this replica's rank has finished. Then all take over its state.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from distcnn.errors import DistcnnError
from distcnn.parallel.collective import mark_collective
from distcnn.parallel.comm import Comm
from distcnn.parallel.heartbeat import COMPUTING, WAITING, Heartbeat
from distcnn.parallel.ulfm import rank_number
from distcnn.run.state import digest
from distcnn.run.training_progress import TrainingProgress

MAX_ROLLBACKS = 3  # to one state; then somebody must look at the machine

Arrays = Sequence[np.ndarray]


class ReplicaMismatch(DistcnnError):
    """Replicas differ; every rank raises it."""


class Copy(NamedTuple):
    """A replica as it was: its progress, its arrays, and their digest."""

    progress: TrainingProgress
    arrays: list[np.ndarray]
    digest: str


class Replicas:
    """Compares this rank's replica with the others and makes them equal; all methods are collective.

    A replica consists of its arrays, float32, which are overwritten in place, and its progress.

    comm: of all ranks.
    heartbeat: of this rank.
    compared: whether replicas have been compared since they were last brought to one state.
    """

    def __init__(self, comm: Comm, heartbeat: Heartbeat):
        self.comm, self.heartbeat, self.compared = comm, heartbeat, False
        self._good: Copy | None = None  # the last state in which all replicas were the same
        self._rollbacks = 0  # to it

    def compare(self, arrays: Arrays, progress: TrainingProgress) -> None:
        """Copy the state if it is the same on all ranks; raise ReplicaMismatch on every rank otherwise."""
        self.compared = True
        if self.comm.size == 1:
            return
        own = self.check_equal(arrays, progress)
        if self._good and self._good.progress != progress:
            self._rollbacks = 0
        self._good = Copy(progress, [array.copy() for array in arrays], own)

    def check_equal(self, arrays: Arrays, progress: TrainingProgress) -> str:
        """Return the digest of all replicas; raise ReplicaMismatch on every rank, which names those that differ."""
        own = digest(*arrays)
        self.heartbeat.beat(WAITING)
        found = self.comm.allgather((progress, own))
        self.heartbeat.beat(COMPUTING)
        if any(each != found[0] for each in found):
            raise mark_collective(ReplicaMismatch(self._difference(found)))
        return own

    def sync_to_latest(self, arrays: Arrays, progress: TrainingProgress) -> tuple[TrainingProgress, int]:
        """Bring all ranks to the furthest replica, by a step or less; return its progress and its rank.

        Raises whatever MPI raises when yet another rank dies; the arrays are then as they were.
        """
        every = self.comm.allgather(progress)
        furthest = max(every)
        source = every.index(furthest)
        if min(every) != furthest:
            self._copy_from(source, arrays, arrays)
        self.compared = False
        return furthest, source

    def rollback(self, arrays: Arrays) -> TrainingProgress:
        """Bring all ranks back to the last state that was the same on all, and return its progress.

        Raises DistcnnError on every rank if that has happened too often.
        """
        good = self._good if self._good and digest(*self._good.arrays) == self._good.digest else None
        found = self.comm.allgather((good and good.progress, self._rollbacks))
        every = [progress for progress, _ in found]
        # One rank may have counted a rollback that has failed on another.
        self._rollbacks = max(rollbacks for _, rollbacks in found) + 1
        if self._rollbacks > MAX_ROLLBACKS or not any(every):
            raise mark_collective(
                DistcnnError("replicas differ again and again: have the memory of the hosts tested")
            )
        last = max(filter(None, every))
        source = every.index(last)
        self._copy_from(source, good.arrays if good and self.comm.rank == source else arrays, arrays)
        self.compared = False
        return last

    def _copy_from(self, source, sent, arrays):
        """Copy the arrays `sent` of one rank into all ranks' `arrays`.

        All of them arrive before one is overwritten, as ranks may die meanwhile.
        """
        arrived = [array.copy() for array in sent]
        for array in arrived:
            self.comm.Bcast(array, source)
        for own, array in zip(arrays, arrived, strict=True):
            own[:] = array

    def _difference(self, found):
        """Return words on the ranks that have other bits than most."""
        hosts = self.comm.allgather(socket.gethostname())
        counts = Counter(found).most_common()
        tie = len(counts) > 1 and counts[0][1] == counts[1][1]
        ranks = [k for k, each in enumerate(found) if tie or each != counts[0][0]]
        who = ", ".join(f"rank {rank_number(self.comm, k)} on {hosts[k]}" for k in ranks)
        return f"{who}: {'other bits each' if tie else 'other bits than on the other ranks'}"
