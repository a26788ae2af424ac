"""A worker: the exact sums and the plans of one thread, over weights that all workers of a net share."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from distcnn.kernels.batchnorm import update_running_stats
from distcnn.kernels.float_mode import ieee_mode
from distcnn.lanes import aligned
from distcnn.layers.context import BlockContext
from distcnn.layers.values import Value
from distcnn.network.group_plan import Allgather, Group
from distcnn.network.inference_plan import InferencePlan
from distcnn.network.losses import check_last
from distcnn.network.plan import Augmentation, Block, NetArrays, Plan
from distcnn.network.weights import Weights
from distcnn.numerics.fixed_point import HEAD, QUANTUM, Counters
from distcnn.numerics.guard import OverflowGuard

STATISTICS_MOMENTUM = 0.1  # PyTorch's: the weight of a batch in the running statistics


class Worker:
    """The buffers with which one thread trains and evaluates a net, block by block.

    shared: the weights, which all workers share.
    sums: int64, the counters (see distcnn.numerics.fixed_point), then the exact sums of the gradients of the
        parameters and of the statistics, in the order of the weights.
    counters: a view of the beginning of `sums` that gives each counter a name.
    guard: the limit for values that a block adds to the sums, and how many values exceeded it.
    context: the samples of the first block of a group, and the settings of all blocks.
    augmentation: distorts the images in `train_group`, see distcnn.data.augmentation; None for no distortion.
    """

    augmentation: Augmentation | None

    def __init__(self, shared: Weights) -> None:
        self.shared = shared
        self.sums = aligned((HEAD + shared.flat.size,), np.int64)
        self.counters = Counters(self.sums)
        self.guard = OverflowGuard()
        self.context = BlockContext(shared.seed)
        self.augmentation = None

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for pickle and copy: the weights and all that belongs to them, without sums and plans."""
        return {"shared": self.shared}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Worker.__init__(self, state["shared"])
        vars(self).update(state)

    def worker_copy(self) -> "Worker":
        """Return another worker over the same weights, for another thread."""
        other = Worker(self.shared)
        other.augmentation = self.augmentation and self.augmentation.worker_copy(other.context)
        return other

    def groups(self, blocks: Sequence) -> list[Sequence]:
        """Cut a list with one entry per block into groups; if norm_group is "global", into one, which may be empty."""
        size = self.shared.norm_group
        if not isinstance(size, int):
            return [blocks]
        return [blocks[k : k + size] for k in range(0, len(blocks), size)]

    # ---- training ----

    def start(self, blocks: int, epoch: int = 0) -> None:
        """Begin a batch: clear the counters, and prepare the parameters for the kernels.

        The sums of the gradients must be 0; the update of the parameters sets them to 0.

        blocks: how many blocks the batch has on all ranks together.
        epoch: the epoch, from 0.
        """
        self._begin(self.group, blocks, epoch)

    def load(self, blocks: Sequence[Block]) -> None:
        """Copy the images of a group of blocks into lanes, for training; the augmentation, if any, distorts them."""
        self.group.load(blocks, self.shared.scale, self.shared.shift, self.augmentation)

    def train_group(
        self,
        blocks: Sequence[Block],
        done: Callable[[int], None] | None = None,
        allgather: Allgather | None = None,
    ) -> None:
        """Add the loss, the counts and the gradients of a group of blocks to the sums.

        The caller must have entered `ieee_mode`.

        blocks: the blocks of the group.
        done: called with an offset when sums[offset:] will not change again; None for no calls.
        allgather: see `Group.forward`.
        """
        offsets = self.shared.layout.offsets
        report = None if done is None else lambda layer: done(offsets[layer])
        self.context.training = True
        self.load(blocks)
        self.group.forward(allgather)
        self.loss()
        self.group.backward(report, allgather)
        self.counters.overflows = self.guard.overflows

    def loss(self) -> None:
        """Add the loss and the counts of the group that was computed last to the counters, and compute its dy."""
        self.group.loss(self.shared.label_smoothing, self.shared.class_weights)

    def total_weight(self, samples: int) -> float:
        """Return the sum of the weights of a batch of so many samples, by which sums are divided for their mean.

        It is 1 if no sample has a weight, as the gradients are 0 then.
        """
        return samples if self.shared.class_weights is None else self.counters.weight or 1.0

    def update_running_stats(self, samples: int) -> None:
        """Update the running statistics from their sums over a batch of so many samples, and clear these sums."""
        for start, stop in self.shared.freezing.statistics:
            running, sums = self.shared.flat[start:stop], self.sums[HEAD + start : HEAD + stop]
            with ieee_mode():
                update_running_stats(running, sums, QUANTUM / samples, STATISTICS_MOMENTUM)

    # ---- evaluation and prediction ----

    def start_evaluation(self, blocks: int) -> None:
        """Begin an evaluation, between two batches of training; blocks: how many blocks all ranks evaluate at most."""
        self._require_outputs()
        self._begin(self.inference, blocks)

    def evaluate_block(self, block: Block) -> None:
        """Add the loss and the counts of a block to the counters."""
        with ieee_mode():
            self.inference.load(block, self.shared.scale, self.shared.shift)
            self.inference.forward()
            self.inference.loss()
        self.counters.overflows = self.guard.overflows

    def predict_block(self, block: Block) -> tuple[Value, Value | None]:
        """Return the output of the last layer for a block, and its probabilities, None if the task has none.

        Call `start_evaluation` before.
        """
        with ieee_mode():
            self.inference.load(block, self.shared.scale, self.shared.shift)
            self.inference.forward()
            return self.inference.y, self.inference.probabilities()

    def probabilities(self) -> Value | None:
        """Return the probabilities for the block that was evaluated last, None if the task has none."""
        with ieee_mode():
            return self.inference.probabilities()

    # ---- plans ----

    @cached_property
    def group(self) -> Group:
        """The plans for training, made (and compiled) on first use."""
        self._require_outputs()
        return self._group(input_gradient=False)

    @cached_property
    def inference(self) -> InferencePlan:
        """The plan for evaluation and prediction, made (and compiled) on first use."""
        return InferencePlan(self.shared.layers, self.shared.shapes, self._net_arrays())

    def _group(self, input_gradient: bool) -> Group:
        shared = self.shared
        first = Plan(shared.layers, shared.shapes, self._net_arrays(), self.context, input_gradient)
        return Group(first, synchronizes=shared.norm_group != 1)

    def _net_arrays(self) -> NetArrays:
        layout, freezing = self.shared.layout, self.shared.freezing
        parameters = layout.by_layer(self.shared.arrays)
        shared, head = self.shared, self.sums[:HEAD]
        sums = layout.by_layer(freezing.sums(layout.views(self.sums[HEAD:])))
        task, targets = shared.task, shared.targets.array
        return NetArrays(parameters, sums, head, self.guard.array, task, targets, freezing)

    def _begin(self, plan: Group | InferencePlan, blocks: int, epoch: int = 0) -> None:
        self.context.epoch = epoch
        self.counters.clear()
        self.guard.reset(blocks)
        with ieee_mode():
            plan.prepare()

    def _require_outputs(self) -> None:
        """Raise NetError unless the last layer gives what the loss takes."""
        layers = self.shared.layers
        check_last(self.shared.task, layers[-1] if layers else None, self.shared.shapes[-1])
