"""A group of blocks whose norms share their statistics: one plan a block, which wait for each other at such a norm.

Up to there, the blocks run one after the other. Then the rows that each has filled are stacked, and one call makes of
them what every block continues with. A group of one block does not wait: its plan makes these calls like all others.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from distcnn.kernels.program import Program, SyncPoint
from distcnn.network.plan import Augmentation, Block, Plan

# Returns the rows of all blocks of the batch, [blocks, ...] float32, for those of a worker; it may have none.
Allgather = Callable[[np.ndarray], np.ndarray]


def partition_unit(norm_group: int | str) -> int:
    """Return how many blocks in a row belong to one rank and one thread: a group, unless it is the whole batch."""
    return norm_group if isinstance(norm_group, int) else 1


class Segment(NamedTuple):
    """A part of a program that a block runs without waiting.

    run: makes its calls.
    sync: the call for the whole group that follows; None if none does.
    layer: the layer that is done when the calls have run; None if none is.
    """

    run: Callable[[], None]
    sync: SyncPoint | None = None
    layer: int | None = None


def segments(program: Program, synchronizes: bool, layers_end: Sequence[int] = ()) -> list[Segment]:
    """Return a program cut into segments.

    synchronizes: whether to cut at every SyncPoint, and leave that call out.
    layers_end: after how many calls each layer is done, the last layer first; the program is cut there, too.
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
    """The plans of the blocks of a group, made as they are needed.

    first: the plan of the first block.
    plans: those in use since the last `load`.
    """

    def __init__(self, first: Plan, synchronizes: bool) -> None:
        """Begin with the plan of the first block; synchronizes: whether a group may have more than one block."""
        self.first, self.plans, self._synchronizes = first, [], synchronizes
        self._made, self._members = [_Member(first, synchronizes)], []

    def prepare(self) -> None:
        """Bring the parameters into the form that kernels want, see `Plan.prepare`."""
        self.first.prepare()

    def load(
        self,
        blocks: Sequence[Block],
        scale: np.ndarray,
        shift: np.ndarray,
        augmentation: Augmentation | None = None,
    ) -> None:
        """Write the images of the group's blocks to their plans; other arguments as in `Plan.load`."""
        while len(self._made) < len(blocks):
            self._made.append(_Member(self.first.for_next_block(), self._synchronizes))
        self._members = self._made[: len(blocks)]
        self.plans = [member.plan for member in self._members]
        for plan, block in zip(self.plans, blocks, strict=True):
            plan.load(block, scale, shift, augmentation)

    def forward(self, allgather: Allgather | None = None) -> None:
        """Compute y of every block from its x.

        allgather: called at every SyncPoint, even for no block; None if a worker has all blocks of the group.
        """
        self._run(self._made[0].forward, [member.forward for member in self._members], allgather)

    def loss(self, smoothing: float = 0.0) -> None:
        """Add loss and counts of all blocks to the head, and compute their dy."""
        for plan in self.plans:
            plan.loss(smoothing)

    def backward(self, done: Callable[[int], None] | None = None, allgather: Allgather | None = None) -> None:
        """Add the gradients of the parameters to their sums, last layer first.

        done: called with the number of each layer whose gradients are complete; None for not at all.
        allgather: as in `forward`.
        """
        cut = "backward_by_layer" if done else "backward"
        parts = [getattr(member, cut) for member in self._members]
        self._run(getattr(self._made[0], cut), parts, allgather, done)

    def _run(
        self,
        of_first: list[Segment],
        of_blocks: list[list[Segment]],
        allgather: Allgather | None,
        done: Callable[[int], None] | None = None,
    ) -> None:
        """Run the segments of all blocks side by side.

        of_first: those of the first plan, whose SyncPoints count.
        of_blocks: those of each block of the group, which may be none.
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

    first: that of the first plan, whose further arguments are those of the call.
    of_blocks: that of each block, whose first argument are the rows that the block has filled.
    allgather: as in `Group.forward`.
    """
    rows, *rest = first.arguments
    none = np.empty((0, *rows.shape[1:]), rows.dtype)
    stacked = np.concatenate([none, *(each.arguments[0] for each in of_blocks)])
    first.kernel(allgather(stacked) if allgather else stacked, *rest)
