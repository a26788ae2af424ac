"""Work that the first rank of a node does before the others, who then find its result on the node."""

from distcnn.parallel.agreement import wait
from distcnn.parallel.node import node


def first_then_others(comm, function):
    """Call `function()` on the first rank of each node, then on all others, which sleep meanwhile; return its result.

    An exception on a first rank leaves the others waiting: it must end the job, as `world.run` does.
    """
    first = node(comm).first
    if first:
        result = function()
    wait(comm)
    if not first:
        result = function()
    return result
