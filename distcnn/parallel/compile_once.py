"""Kernels on all ranks: the first rank of each node compiles those that are not cached, and the others load them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from distcnn.kernels import kernel_cache
from distcnn.kernels.jit import NotCached, cached_only
from distcnn.parallel.collective import barrier
from distcnn.parallel.comm import Comm
from distcnn.parallel.node import node
from distcnn.system.temporary_folder import temporary_folder


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


@contextmanager
def without_user_cache(comm: Comm) -> Iterator[None]:
    """Load no kernel of the user's cache inside the block: what it needs is compiled anew. Entering is collective.

    The ranks of a node share a new folder, which is removed after the block.
    """
    here = node(comm)
    with ExitStack() as stack:
        folder = None
        if here.first:
            with suppress(OSError):  # no folder for temporary files: every rank compiles for itself
                folder = str(stack.enter_context(temporary_folder()))
        shared = here.own(comm.allgather(folder))[0]
        with kernel_cache.in_folder(shared):
            yield


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
