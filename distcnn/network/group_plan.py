"""A group of blocks whose batch norms share their statistics: one plan per block, with a sync point at each norm.

Each block's program runs up to the sync point, one block after the other. Then the rows that the blocks have written
are stacked, and one call computes from them the statistics with which every block continues. If groups have one block,
there are no sync points: the plan makes these calls like all others.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from distcnn.kernels.program import Program, SyncPoint
from distcnn.network.plan import Augmentation, Block, Plan

# A function from the rows of the blocks of one worker, [blocks, ...] float32, to the rows of all blocks of the batch. A
# worker without blocks gives an array of 0 rows.
Allgather = Callable[[np.ndarray], np.ndarray]


def partition_unit(norm_group: int | str) -> int:
    """Return how many consecutive blocks must belong to the same thread: those of a group, unless that is the batch."""
    return norm_group if isinstance(norm_group, int) else 1


class Segment(NamedTuple):
    """A part of a program that a block runs without waiting for other blocks.

    run: a function that makes the calls of the segment.
    sync: the call for the whole group that comes after the segment; None if there is none.
    layer: the number of the layer that is done when the segment has run; None if no layer ends there.
    """

    run: Callable[[], None]
    sync: SyncPoint | None = None
    layer: int | None = None


def segments(program: Program, synchronizes: bool, layers_end: Sequence[int] = ()) -> list[Segment]:
    """Cut a program into segments and return them.

    program: the program.
    synchronizes: whether to cut at every SyncPoint, and leave that call out of the segments.
    layers_end: after how many calls each layer is done, last layer first; the program is cut there, too.
    """
    last = len(layers_end) - 1
    cuts: list[tuple[int, SyncPoint | None, int | None]]
    cuts = [(end, None, last - k) for k, end in enumerate(layers_end)]
    if synchronizes:
        cuts += [(k, call, None) for k, call in enumerate(program.calls) if isinstance(call, SyncPoint)]
    cuts = [*sorted(cuts, key=lambda cut: (cut[0], cut[1] is not None)), (len(program.calls), None, None)]
    start, found = 0, []
    for stop, sync, layer in cuts:
        found.append(Segment(partial(program, start, stop), sync, layer))
        start = stop + (sync is not None)
    return found


class _Member:
    """The plan of one block of a group, with its programs cut into segments."""

    def __init__(self, plan: Plan, synchronizes: bool) -> None:
        self.plan = plan
        self.forward = segments(plan.forward_program, synchronizes)
        self.backward = segments(plan.backward_program, synchronizes)
        self.backward_by_layer = segments(plan.backward_program, synchronizes, plan.layers_end)


class Group:
    """The plans of the blocks of a group; the plan of a block is made when a group first has so many blocks.

    first: the plan of the first block.
    plans: the plans of the blocks of the last `load`.
    """

    def __init__(self, first: Plan, synchronizes: bool) -> None:
        """Begin with the plan of the first block.

        first: that plan.
        synchronizes: whether a group may have more than one block, so that blocks wait for each other.
        """
        self.first, self.plans, self._synchronizes = first, [], synchronizes
        self._made, self._members = [_Member(first, synchronizes)], []

    def prepare(self) -> None:
        """Transform the parameters into the form that kernels read, see `Plan.prepare`."""
        self.first.prepare()

    def load(
        self,
        blocks: Sequence[Block],
        scale: np.ndarray,
        shift: np.ndarray,
        augmentation: Augmentation | None = None,
    ) -> None:
        """Write the images of each block to its plan.

        blocks: the blocks of the group.
        scale, shift, augmentation: as in `Plan.load`.
        """
        while len(self._made) < len(blocks):
            self._made.append(_Member(self.first.for_next_block(), self._synchronizes))
        self._members = self._made[: len(blocks)]
        self.plans = [member.plan for member in self._members]
        for plan, block in zip(self.plans, blocks, strict=True):
            plan.load(block, scale, shift, augmentation)

    def forward(self, allgather: Allgather | None = None) -> None:
        """Compute y of every block from its x.

        allgather: called at every SyncPoint, also if the group has no block; None if this worker has all blocks.
        """
        self._run(self._made[0].forward, [member.forward for member in self._members], allgather)

    def loss(self, smoothing: float = 0.0, class_weights: np.ndarray | None = None) -> None:
        """Add the loss and the counts of all blocks to the counters, and compute dy of each; arguments as in `Plan`."""
        for plan in self.plans:
            plan.loss(smoothing, class_weights)

    def backward(self, done: Callable[[int], None] | None = None, allgather: Allgather | None = None) -> None:
        """Add the gradients of the parameters to their sums, last layer first.

        done: called with the number of each layer when its gradients are complete; None for no calls.
        allgather: as in `forward`.
        """
        kind = "backward_by_layer" if done else "backward"
        of_blocks = [getattr(member, kind) for member in self._members]
        self._run(getattr(self._made[0], kind), of_blocks, allgather, done)

    def _run(
        self,
        of_first: list[Segment],
        of_blocks: list[list[Segment]],
        allgather: Allgather | None,
        done: Callable[[int], None] | None = None,
    ) -> None:
        """Run each segment for all blocks, and make the call of its SyncPoint, before the next segment begins.

        of_first: the segments of the first plan; its SyncPoints are called even if the group has no block.
        of_blocks: the segments of each block of the group.
        allgather: as in `forward`.
        done: as in `backward`.
        """
        for number, segment in enumerate(of_first):
            for segments_of_block in of_blocks:
                segments_of_block[number].run()
            if segment.sync:
                points = [each[number].sync for each in of_blocks]
                synchronize(segment.sync, [point for point in points if point], allgather)
            elif done and segment.layer is not None:
                done(segment.layer)


def synchronize(first: SyncPoint, of_blocks: Sequence[SyncPoint], allgather: Allgather | None) -> None:
    """Make the call of a SyncPoint once for all blocks.

    first: the SyncPoint of the first plan; the call has its arguments, except for the rows.
    of_blocks: the SyncPoint of each block; its first argument is the array of the rows that the block has written.
    allgather: as in `Group.forward`.
    """
    rows, *rest = first.arguments
    none = np.empty((0, *rows.shape[1:]), rows.dtype)
    stacked = np.concatenate([none, *(each.arguments[0] for each in of_blocks)])
    first.kernel(allgather(stacked) if allgather else stacked, *rest)
