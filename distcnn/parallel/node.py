"""The node: which ranks share this one's memory, and how many of its cores this rank may keep busy.

All calls go through the communicator of all ranks: in one of the node alone, a rank could wait for one that has died,
and the ranks of other nodes would not learn of it.
"""

import os
import socket
import tempfile
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from distcnn.parallel.comm import Comm

MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else tempfile.gettempdir()
BOOT = Path("/proc/sys/kernel/random/boot_id")  # tells apart hosts of one name
# The processor time that a container may use, as "200000 100000" for two cores, or "max 100000":
QUOTA = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True)
class Node:
    """The ranks that share one memory.

    ranks: their numbers, in order.
    place: the index of this rank among them.
    count: how many nodes the job has.
    """

    ranks: tuple[int, ...]
    place: int
    count: int

    @property
    def first(self) -> bool:
        """Whether this rank is the one that does what a node needs once."""
        return self.place == 0

    def own(self, values: list) -> list:
        """Return those values of an `allgather` that are of this node's ranks."""
        return [values[rank] for rank in self.ranks]


def node(comm: Comm) -> Node:
    """Return this rank's node. Collective."""
    homes = comm.allgather(_home())
    ranks = tuple(rank for rank, home in enumerate(homes) if home == homes[comm.rank])
    return Node(ranks, ranks.index(comm.rank), len(set(homes)))


def share_of_cores(comm: Comm) -> int:
    """Return this rank's share of the node's cores, at least 1. Collective.

    A core that k ranks may run on counts 1 / k for each of them, whether their launcher has bound them or not.
    """
    here = node(comm)
    masks = here.own(comm.allgather(_allowed()))
    users = Counter(core for mask in masks for core in mask)
    share = sum(Fraction(1, users[core]) for core in masks[here.place])
    quota = _quota()
    return max(1, int(share if quota is None else min(share, Fraction(quota, len(masks)))))


def _home() -> tuple[str, str, int]:
    """Return what only the ranks that can share memory have in common; a container has a memory of its own."""
    boot = ""
    with suppress(OSError):
        boot = BOOT.read_text()
    return socket.gethostname(), boot, os.stat(MEMORY).st_dev


def _allowed() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _quota() -> int | None:
    """Return for how many cores this container has processor time, or None without a limit."""
    with suppress(OSError, ValueError):
        time, period = map(int, QUOTA.read_text().split())
        return max(1, time // period)
    return None
