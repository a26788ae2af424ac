"""The ranks that share this one's memory.

They are found, and reached, through the communicator of all ranks, as are all others: there is no other communicator
in which a rank could wait for one that has died, unheard by the rest.
"""

import os
import socket
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else tempfile.gettempdir()
BOOT = Path("/proc/sys/kernel/random/boot_id")  # tells apart hosts of one name


@dataclass(frozen=True)
class Node:
    """ranks: those of this node, in order; place: this one's among them; count: how many nodes the job has."""

    ranks: tuple[int, ...]
    place: int
    count: int

    @property
    def first(self):
        """Whether this rank is the one that does what a node needs once."""
        return self.place == 0

    def own(self, values):
        """Return those values of an `allgather` that are of this node's ranks."""
        return [values[rank] for rank in self.ranks]


def node(comm) -> Node:
    """Return this rank's node. Collective."""
    homes = comm.allgather(_home())
    ranks = tuple(rank for rank, home in enumerate(homes) if home == homes[comm.rank])
    return Node(ranks, ranks.index(comm.rank), len(set(homes)))


def _home() -> tuple[str, str, int]:
    """Return what only the ranks that can share memory have in common; a container has a memory of its own."""
    boot = ""
    with suppress(OSError):
        boot = BOOT.read_text()
    return socket.gethostname(), boot, os.stat(MEMORY).st_dev
