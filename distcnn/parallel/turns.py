"""Work that the first rank of a node does before the others, who then find its result on the node."""

from distcnn.parallel.agreement import wait
from distcnn.parallel.world import node


def first_then_others(comm, function):
    """Call `function()` on the first rank of each node, then on all others, which sleep meanwhile; return its result.

    An exception on a first rank leaves the others waiting: it must end the job, as `world.run` does.
    """
    local = node(comm)
    if local.rank == 0:
        result = function()
    wait(local)
    if local.rank > 0:
        result = function()
    local.Free()
    return result
