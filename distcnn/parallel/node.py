"""The node: which ranks share this one's memory, and how many of its cores this rank may keep busy.

All calls use the communicator of all ranks: in a communicator of one node, a rank could wait for a rank that has died,
and the ranks of other nodes would not learn of the death.
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
BOOT = Path("/proc/sys/kernel/random/boot_id")  # differs between hosts of the same name
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
        """Whether this rank is the first of its node; the first rank does the work that a node needs only once."""
        return self.place == 0

    def own(self, values: list) -> list:
        """Return the values of this node's ranks from the result of an `allgather`."""
        return [values[rank] for rank in self.ranks]


def node(comm: Comm) -> Node:
    """Return this rank's node. Collective."""
    homes = comm.allgather(_home())
    ranks = tuple(rank for rank, home in enumerate(homes) if home == homes[comm.rank])
    return Node(ranks, ranks.index(comm.rank), len(set(homes)))


def share_of_cores(comm: Comm) -> int:
    """Return this rank's share of the node's cores, at least 1. Collective.

    A core on which k ranks may run counts as 1 / k for each of them, whether or not the launcher binds ranks to cores.
    """
    here = node(comm)
    masks = here.own(comm.allgather(_allowed()))
    users = Counter(core for mask in masks for core in mask)
    share = sum(Fraction(1, users[core]) for core in masks[here.place])
    quota = _quota()
    return max(1, int(share if quota is None else min(share, Fraction(quota, len(masks)))))


def _home() -> tuple[str, str, int]:
    """Return a key that is equal on two ranks if and only if they can share memory; two containers cannot."""
    boot = ""
    with suppress(OSError):
        boot = BOOT.read_text()
    return socket.gethostname(), boot, os.stat(MEMORY).st_dev


def _allowed() -> list[int]:
    """Return the cores on which this process may run."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _quota() -> int | None:
    """Return the number of cores to which this container's processor time is limited, or None without a limit."""
    with suppress(OSError, ValueError):
        time, period = map(int, QUOTA.read_text().split())
        return max(1, time // period)
    return None
