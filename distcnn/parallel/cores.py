"""How many cores a rank may keep busy, so that the ranks of a node do not fight for them."""

import os
from collections import Counter
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

from distcnn.parallel.node import node

# What a container may use, as "200000 100000" for two cores, or "max 100000":
QUOTA = Path("/sys/fs/cgroup/cpu.max")


def share_of_cores(comm) -> int:
    """Return this rank's share of the node's cores, at least 1. Collective.

    A core that several ranks may run on counts for each of them in part, whether their launcher has bound them or not.
    """
    here = node(comm)
    masks = here.own(comm.allgather(_allowed()))
    users = Counter(core for mask in masks for core in mask)
    share = sum(Fraction(1, users[core]) for core in masks[here.place])
    quota = _quota()
    return max(1, int(share if quota is None else min(share, Fraction(quota, len(masks)))))


def _allowed() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _quota() -> int | None:
    """Return how many cores' time this container has, or None without a limit."""
    with suppress(OSError, ValueError):
        time, period = map(int, QUOTA.read_text().split())
        return max(1, time // period)
    return None
