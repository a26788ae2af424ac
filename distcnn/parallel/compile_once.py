"""Kernels on all ranks: the first rank of each node compiles those that are not cached, and the others load them."""

from collections.abc import Callable

from distcnn.kernels.jit import NotCached, cached_only
from distcnn.parallel.collective import barrier
from distcnn.parallel.comm import Comm
from distcnn.parallel.node import node


def compile_in_turns(comm: Comm, function: Callable[[], object]) -> None:
    """Call `function()`, which loads or compiles kernels, on every rank; at most one rank of a node compiles.

    An exception on the first rank of a node leaves the other ranks waiting, so it must end the job, as in `world.run`.
    """
    if comm.size > 1 and all(comm.allgather(_found(comm, function))):
        return
    first = node(comm).first
    if first:
        function()
    barrier(comm)
    if not first:
        function()


def _found(comm: Comm, function: Callable[[], object]) -> bool:
    """Call `function()`; return whether it has found all kernels in the cache."""
    try:
        with cached_only():
            function()
        found = True
    except NotCached:
        found = False
    barrier(comm)  # sleeps: with fewer cores than ranks, some ranks take longer
    return found
