"""Kernels on all ranks: from the cache at once, or compiled by the first of each node while the others sleep."""

from collections.abc import Callable

from distcnn.kernels.jit import NotCached, cached_only
from distcnn.parallel.collective import barrier
from distcnn.parallel.comm import Comm
from distcnn.parallel.node import node


def compile_in_turns(comm: Comm, function: Callable[[], object]) -> None:
    """Call `function()`, which makes kernels ready, on every rank; at most one rank of a node compiles them.

    An exception on a first rank leaves the others waiting: it must end the job, as `world.run` does.
    """
    if comm.size > 1 and all(comm.allgather(_found(comm, function))):
        return
    first = node(comm).first
    if first:
        function()
    barrier(comm)
    if not first:
        function()


def _found(comm, function):
    """Call `function()` and return whether it has found all kernels in the cache."""
    try:
        with cached_only():
            function()
        found = True
    except NotCached:
        found = False
    barrier(comm)  # asleep: some take longer, where there are fewer cores than ranks
    return found
