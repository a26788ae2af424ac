"""All ranks' replicas are the same bits: compared every so often, brought to one state when a rank or bit is lost.

One case is not covered: a bit is lost in a replica, and before the next comparison a rank dies within a sum that just
this replica's rank has finished. Then all take over its state.
"""

import socket
from collections import Counter
from typing import NamedTuple

import numpy as np

from distcnn.errors import DistcnnError
from distcnn.parallel.collective import mark_collective
from distcnn.parallel.ulfm import rank_number
from distcnn.parallel.watch import COMPUTING, WAITING
from distcnn.run.state import digest

MOST_RETURNS = 3  # to one state; then the machine must be looked at


class ReplicaMismatch(Exception):
    """Replicas differ; known to all ranks."""


class Copy(NamedTuple):
    """A replica as it was: where it stood, its arrays, and their digest."""

    progress: tuple
    arrays: list[np.ndarray]
    digest: str


class Replicas:
    """This rank's replica beside those of the others, and a copy of the last state in which all were the same."""

    def __init__(self, trainer):
        self.trainer, self.comm = trainer, trainer.comm
        self.good, self.compared, self.returns = None, False, 0

    def compare(self):
        """Keep a copy of the state if it is the same on all ranks; raise Spoilt on every rank otherwise."""
        self.compared = True
        if self.comm.size == 1:
            return
        own, progress = self.check_equal(), self.trainer.progress
        if self.good and self.good.progress != progress:
            self.returns = 0
        self.good = Copy(progress, [array.copy() for array in self.trainer.arrays], own)

    def check_equal(self):
        """Return the digest of all replicas; raise Spoilt on every rank, naming who differs, if some do."""
        own = digest(*self.trainer.arrays)
        self.trainer.watch.note(WAITING)
        found = self.comm.allgather((self.trainer.progress, own))
        self.trainer.watch.note(COMPUTING)
        if any(each != found[0] for each in found):
            raise ReplicaMismatch(self._differing(found))
        return own

    def sync_to_latest(self):
        """Bring all ranks to where the furthest stands, by a step or less; return which rank that was.

        Raises whatever MPI raises when yet another rank dies; the replica is then as it was, or as it shall be.
        """
        standings = self.comm.allgather(self.trainer.progress)
        furthest = max(standings)
        source = standings.index(furthest)
        if min(standings) != furthest:
            self._adopt(source, self.trainer.arrays, furthest)
        self._begin()
        return source

    def rollback(self):
        """Go back, on all ranks, to the last state that was the same on all."""
        good = self.good if self.good and digest(*self.good.arrays) == self.good.digest else None
        found = self.comm.allgather((good and good.progress, self.returns))
        standings = [progress for progress, _ in found]
        # One rank may have heard of a return that has failed on another.
        self.returns = max(returns for _, returns in found) + 1
        if self.returns > MOST_RETURNS or not any(standings):
            raise mark_collective(
                DistcnnError("replicas differ again and again: have the memory of the hosts tested")
            )
        last = max(filter(None, standings))
        source = standings.index(last)
        self._adopt(source, good.arrays if self.comm.rank == source else self.trainer.arrays, last)
        self._begin()

    def _adopt(self, source, arrays, progress):
        """Take over the arrays of one rank; all of them arrive before one is touched, as ranks may die on the way."""
        arrived = [array.copy() for array in arrays]
        for array in arrived:
            self.comm.Bcast(array, source)
        for own, array in zip(self.trainer.arrays, arrived, strict=True):
            own[:] = array
        self.trainer.progress = progress

    def _begin(self):
        """Clear what an unfinished step has left; the next comparison is due at once, on every rank."""
        self.trainer.pool.clear()
        self.compared = False

    def _differing(self, found):
        """Return words on who has other bits than most."""
        hosts = self.comm.allgather(socket.gethostname())
        counts = Counter(found).most_common()
        tie = len(counts) > 1 and counts[0][1] == counts[1][1]
        ranks = [k for k, each in enumerate(found) if tie or each != counts[0][0]]
        who = ", ".join(f"rank {rank_number(self.comm, k)} on {hosts[k]}" for k in ranks)
        return f"{who}: {'other bits each' if tie else 'other bits than on the other ranks'}"
