"""The user's function that is called after each epoch, on all ranks, which then do the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distcnn.parallel.collective import together
from distcnn.parallel.comm import Comm
from distcnn.parallel.heartbeat import IDLE, Heartbeat

Record = dict[str, Any]
Callback = Callable[[Record], Any]  # called with the record of an epoch; what it returns says whether to stop


class EpochCallback:
    """Calls a function of the user's after each epoch; if that asks to stop on some rank, all ranks stop.

    comm: the communicator of all ranks.
    heartbeat: of this rank.
    function: the user's; None if this rank has none.
    is_asked: whether any rank may have one.

    stops: whether training has been asked to stop, the same on all ranks.
    """

    def __init__(self, comm: Comm, heartbeat: Heartbeat, function: Callback | None, is_asked: bool):
        self.comm, self.heartbeat, self.function, self.is_asked = comm, heartbeat, function, is_asked
        self.stops = False
        self._step, self._asks = -1, False  # of the last call: the number of finished steps, and the answer

    def __call__(self, record: Record | None) -> bool:
        """Call the function with a copy of the record of an epoch; return whether some rank's asks to stop. Collective.

        After a recovery this is called again for the same epoch; the function is not. An exception of the function on
        some rank is raised on all ranks.
        """
        if not self.is_asked or record is None:
            return False
        record = self.comm.bcast(record)  # speed and waiting times are those that rank 0 has written
        self.heartbeat.beat(IDLE)  # the function may take as long as it likes
        asks = together(self.comm, self._answer, record)
        self.stops = any(self.comm.allgather(asks))
        return self.stops

    def _answer(self, record: Record) -> bool:
        """Return whether this rank's function asks to stop."""
        if self.function and record["step"] > self._step:
            self._asks = bool(self.function(dict(record)))
            self._step = record["step"]
        return self._asks
