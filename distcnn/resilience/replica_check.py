"""Comparison of all ranks' replicas, which must have the same bits, and their synchronization after a failure.

One case is not covered: memory corruption changes a replica, and before the next comparison a rank dies during an
allreduce that only the rank of this replica has finished. Then all ranks copy the corrupt replica.
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

MAX_ROLLBACKS = 3  # to the same state; then a person must examine the machine

Arrays = Sequence[np.ndarray]


class ReplicaMismatch(DistcnnError):
    """Raised on every rank if replicas differ."""


class Copy(NamedTuple):
    """A copy of a replica: its progress, its arrays, and their digest."""

    progress: TrainingProgress
    arrays: list[np.ndarray]
    digest: str


class Replicas:
    """Compares this rank's replica with those of the other ranks, and makes them equal. All methods are collective.

    A replica consists of its arrays, float32, which are overwritten in place, and its progress.

    comm: the communicator of all ranks.
    heartbeat: of this rank.
    compared: whether replicas have been compared since the last synchronization or rollback.
    """

    def __init__(self, comm: Comm, heartbeat: Heartbeat):
        self.comm, self.heartbeat, self.compared = comm, heartbeat, False
        self._good: Copy | None = None  # the last state in which all replicas were equal
        self._rollbacks = 0  # to that state

    def compare(self, arrays: Arrays, progress: TrainingProgress) -> None:
        """Keep a copy of the replica for `rollback`; raise ReplicaMismatch on every rank if replicas differ."""
        self.compared = True
        if self.comm.size == 1:
            return
        own = self.check_equal(arrays, progress)
        if self._good and self._good.progress != progress:
            self._rollbacks = 0
        self._good = Copy(progress, [array.copy() for array in arrays], own)

    def check_equal(self, arrays: Arrays, progress: TrainingProgress) -> str:
        """Return the digest of the replica; if replicas differ, raise ReplicaMismatch, which names their ranks."""
        own = digest(*arrays)
        self.heartbeat.beat(WAITING)
        found = self.comm.allgather((progress, own))
        self.heartbeat.beat(COMPUTING)
        if any(each != found[0] for each in found):
            raise mark_collective(ReplicaMismatch(self._difference(found)))
        return own

    def sync_to_latest(self, arrays: Arrays, progress: TrainingProgress) -> tuple[TrainingProgress, int]:
        """Copy the replica with the most steps to all ranks; return its progress and its rank.

        If another rank dies meanwhile, MPI's exception is raised and the arrays are unchanged.
        """
        every = self.comm.allgather(progress)
        furthest = max(every)
        source = every.index(furthest)
        if min(every) != furthest:
            self._copy_from(source, arrays, arrays)
        self.compared = False
        return furthest, source

    def rollback(self, arrays: Arrays) -> TrainingProgress:
        """Restore on all ranks the last state that was equal on all, and return its progress.

        Raises DistcnnError on every rank after too many rollbacks to the same state, or if there is no such state.
        """
        good = self._good if self._good and digest(*self._good.arrays) == self._good.digest else None
        found = self.comm.allgather((good and good.progress, self._rollbacks))
        every = [progress for progress, _ in found]
        # One rank may have counted a rollback that has failed on another.
        self._rollbacks = max(rollbacks for _, rollbacks in found) + 1
        if self._rollbacks > MAX_ROLLBACKS or not any(every):
            message = "replicas differ again and again: test the memory of the hosts"
            raise mark_collective(DistcnnError(message))
        last = max(filter(None, every))
        source = every.index(last)
        self._copy_from(source, good.arrays if good and self.comm.rank == source else arrays, arrays)
        self.compared = False
        return last

    def _copy_from(self, source: int, sent: Arrays, arrays: Arrays) -> None:
        """Copy the arrays `sent` of rank `source` into all ranks' `arrays`.

        No array is overwritten before all have arrived, because ranks may die meanwhile.
        """
        arrived = [array.copy() for array in sent]
        for array in arrived:
            self.comm.Bcast(array, source)
        for own, array in zip(arrays, arrived, strict=True):
            own[:] = array

    def _difference(self, found: list[tuple[TrainingProgress, str]]) -> str:
        """Return a message that names the ranks whose replicas differ from the majority; found: as in `check_equal`."""
        hosts = self.comm.allgather(socket.gethostname())
        counts = Counter(found).most_common()
        tie = len(counts) > 1 and counts[0][1] == counts[1][1]
        ranks = [k for k, each in enumerate(found) if tie or each != counts[0][0]]
        who = ", ".join(f"rank {rank_number(self.comm, k)} on {hosts[k]}" for k in ranks)
        return f"{who}: {'all differ' if tie else 'other bits than on the other ranks'}"
