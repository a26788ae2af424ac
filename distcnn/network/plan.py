"""A plan: the buffers for one block of sixteen samples, and the kernel calls of its forward and backward pass.

A plan is made once and then run for one block after the other, without any decision at run time. So the arrays of a
whole forward and backward pass stay in the cache, and the memory in use does not depend on the batch size.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, chain
from typing import Any, NamedTuple, Protocol

import numpy as np

from distcnn.config.tasks import Task
from distcnn.kernels.pointwise import pack
from distcnn.kernels.program import Program
from distcnn.lanes import LANES, aligned
from distcnn.layers.base import Layer, LayerBuffers
from distcnn.layers.context import BlockContext
from distcnn.layers.declarations import Call, Shape
from distcnn.layers.values import Scratch, Value, allocate_arrays
from distcnn.network import buffer_sharing, passes
from distcnn.network.buffer_sharing import is_view
from distcnn.network.freezing import Freezing
from distcnn.network.losses import LOSSES, LossArrays
from distcnn.network.passes import Node

Slots = tuple[list[buffer_sharing.Slot], list[buffer_sharing.Slot]]  # of values and of gradients


class Block(NamedTuple):
    """Up to sixteen samples, one in each lane.

    images: [n, c, h, w] uint8 or float32, all images of the dataset or batch, or those of a window of it.
    index: [16] int64, the index into `images` of the sample in each lane; any valid index in an empty lane.
    label: [16] or, if the task has rows of labels, [16, outputs]: the label or row of each lane's sample.
    weight: [16] float32, 1 for each sample, 0 in an empty lane.
    sample: [16] int64, the number of each lane's sample in its split, on which its random numbers depend.
    """

    images: np.ndarray
    index: np.ndarray  # type: ignore[assignment]  # not the method of a tuple
    label: np.ndarray
    weight: np.ndarray
    sample: np.ndarray

    @classmethod
    def of(
        cls, images: np.ndarray, labels: np.ndarray, samples: np.ndarray, rows: np.ndarray | None = None
    ) -> "Block":
        """Return a block of 1 to 16 samples; empty lanes repeat the first one.

        images: [n, c, h, w], all images, or some of them.
        labels: [n] or [n, outputs], the labels of all samples.
        samples: the numbers of the samples of the block, which are indices into `labels`.
        rows: the indices into `images` of these samples; None: their numbers.
        """
        sample = _sixteen(samples)
        index = sample if rows is None else _sixteen(rows)
        return cls(images, index, labels.take(sample, 0), _WEIGHTS[len(samples)], sample)

    @classmethod
    def full(cls, images: np.ndarray, labels: np.ndarray, samples: np.ndarray, rows: np.ndarray) -> "Block":
        """Return a block of 16 samples; the arguments are those of `of`, samples and rows contiguous int64 [16]."""
        return cls(images, rows, labels.take(samples, 0), _WEIGHTS[LANES], samples)


def _sixteen(numbers: np.ndarray) -> np.ndarray:
    """Return 1 to 16 numbers as int64 [16]; the first one fills the array up."""
    if len(numbers) == LANES:
        return np.ascontiguousarray(numbers, np.int64)
    filled = np.full(LANES, numbers[0], np.int64)
    filled[: len(numbers)] = numbers
    return filled


_WEIGHTS = np.tri(LANES + 1, LANES, -1, dtype=np.float32)  # row n: n ones


class Augmentation(Protocol):
    """An object that distorts the images of a block while it copies them into lanes, see distcnn.data.augmentation."""

    @property
    def kernels(self) -> list:
        """All kernels, to be compiled."""

    def load(self, block: Block, scale: np.ndarray, shift: np.ndarray, x: np.ndarray) -> None:
        """Write the distorted images of a block to x [1, c, h, w, 16]."""

    def worker_copy(self, context: BlockContext) -> "Augmentation":
        """Return an object with the same distortions and separate buffers, for another thread."""


class NetArrays(NamedTuple):
    """The arrays of a net and of a worker that kernels read and write.

    parameters: for each layer, its parameters and running statistics by name, float32.
    sums: for each layer, the exact sums of its parameters and running statistics by name, int64.
    head: the counters at the beginning of the exact sums, see distcnn.numerics.fixed_point.
    guard: int64 [2], see distcnn.lanes.sums.
    task: what the net learns.
    targets: [2, outputs], mean and standard deviation of the targets.
    freezing: which layers need no gradients of their own.
    """

    parameters: list[dict[str, np.ndarray]]
    sums: list[dict[str, np.ndarray]]
    head: np.ndarray
    guard: np.ndarray
    task: Task
    targets: np.ndarray
    freezing: Freezing


class ForwardPlan:
    """The forward pass of a block: the common base of the plans for training and for inference.

    values: the input, then the output of each node.
    x, y: the first and the last of the values.
    context: the samples of the block, and the settings.
    forward_program: the calls of the forward pass.
    """

    def __init__(self, context: BlockContext, values: list[Value]) -> None:
        self.context, self.values, self.x, self.y = context, values, values[0], values[-1]
        self._label = aligned((LANES,))
        self._pack = {np.dtype(name): pack(name) for name in ("uint8", "float32")}  # compiled on first use

    def _set_calls(self, prepare: list[Call], forward: list[Call]) -> None:
        self._prepare, self.forward_program = Program(prepare), Program(forward)

    def _set_loss(self, last: Layer, dy: np.ndarray, arrays: NetArrays) -> None:
        (outputs,), task, weights = self.y.shape, arrays.task, self.context.weights
        self._label = aligned((*task.label_shape(outputs), LANES))
        results = dy, arrays.head, arrays.guard
        rejection, targets = last.rejection_logit, arrays.targets
        of_block = LossArrays(self.y.array, self._label, weights, rejection, targets, results)
        self._loss = LOSSES[task.name].bind(of_block)

    def prepare(self) -> None:
        """Transform the parameters into the form that kernels read; call this before the first block of each batch."""
        self._prepare()

    def load(
        self,
        block: Block,
        scale: np.ndarray,
        shift: np.ndarray,
        augmentation: Augmentation | None = None,
    ) -> None:
        """Write the images of a block to x, after distorting and normalizing them.

        block: the samples.
        scale, shift: [c] float32; each pixel is multiplied by scale, then shift is added.
        augmentation: distorts the images before; None for no distortion.
        """
        self._label[:], self.context.weights[:] = block.label.T, block.weight
        self.context.samples[:] = block.sample
        if augmentation:
            augmentation.load(block, scale, shift, self.x.inside)
        else:
            self._pack[block.images.dtype](block.images, block.index, scale, shift, self.x.inside)

    def forward(self) -> None:
        """Compute y from x."""
        self.forward_program()

    def loss(self, smoothing: float = 0.0, class_weights: np.ndarray | None = None) -> None:
        """Add the loss and the counts of the block to the counters, and compute dy.

        smoothing: label smoothing.
        class_weights: float32 [classes], the weight of each class; None: all weigh the same.
        """
        self._loss(smoothing, class_weights)


class Plan(ForwardPlan):
    """The plan of one block for training.

    dx, dy: the gradients of x and y; dx is None if no caller needs it.
    backward_program: the calls of the backward pass, last layer first.
    layers_end: for each layer, last layer first, how many calls of the backward program have run when it is done.
    buffers: the buffers of each layer.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        shapes: Sequence[Shape],
        arrays: NetArrays,
        context: BlockContext,
        input_gradient: bool = False,
        first: "Plan | None" = None,
    ) -> None:
        """Allocate the buffers and compile the calls.

        layers: the layers of the net.
        shapes: the shapes between the layers, beginning with the shape of the input.
        arrays: the arrays of the net and the worker.
        context: the context of this block.
        input_gradient: whether to compute dx. If not, gradients go back only to the first layer with parameters that
            are not frozen.
        first: the plan of the first block of the group, which prepares the parameters for all blocks; None if this is
            the first block.
        """
        self._arguments, self._first = (layers, shapes, arrays), first
        self._nodes: list[Node] = first._nodes if first else passes.for_training(layers, shapes)
        self._slots: Slots = first._slots if first else buffer_sharing.training_slots(self._nodes, shapes[0])
        trains = arrays.freezing.trains
        self._needs_gradient = [input_gradient or any(trains[:k]) for k in range(len(shapes))]
        value_slots, gradient_slots = self._slots
        values = buffer_sharing.allocate([*value_slots, *gradient_slots])
        super().__init__(context, values[: len(shapes)])
        self._gradients = values[len(shapes) :]
        self.dy, self.dx = self._gradients[-1], self._gradients[0] if input_gradient else None
        self._emit_calls()
        if len(shapes[-1]) == 1:
            self._set_loss(layers[-1], self.dy.array, arrays)

    def for_next_block(self) -> "Plan":
        """Return the plan of a further block of the group whose first block has this plan."""
        return Plan(*self._arguments, self.context.for_next_block(), self.dx is not None, first=self)

    def _emit_calls(self) -> None:
        """Ask every layer for its kernel calls, and make the programs of them."""
        value_slots, gradient_slots = self._slots
        skips, scratch = self._skips(), Scratch()
        self.buffers: list[LayerBuffers] = []
        prepare, forward, backward = [], [], []
        for k, node in enumerate(self._nodes):
            buffers = self._buffers_of(k, skips, scratch)
            self.buffers.append(buffers)
            prepare += [] if self._first else node.layer.prepare(buffers)
            if not (node.forward_fused or is_view(value_slots, k)):
                forward += node.layer.forward(buffers)
            is_done = node.backward_fused or is_view(gradient_slots, k) or (buffers.frozen and not buffers.dx)
            backward.insert(0, [] if is_done else node.layer.backward(buffers))
        self._set_calls(prepare, forward)
        self.backward_program = Program(chain.from_iterable(backward))
        self.layers_end = list(accumulate(map(len, backward)))

    def _buffers_of(self, k: int, skips: dict, scratch: Scratch) -> LayerBuffers:
        """Return the buffers of node k; skips: see `_skips`."""
        node, layer, (_, _, arrays) = self._nodes[k], self._nodes[k].layer, self._arguments
        dx = self._gradients[k] if self._needs_gradient[k] else None
        skip, _ = skips.get(layer.reads, (None, None))
        _, dskip = skips.get(layer.reads or layer.saves_as, (None, None))
        of_block: dict[str, Any] = {"x": self.values[k], "y": self.values[k + 1]}
        of_block |= {"dx": dx, "dy": self._gradients[k + 1]}
        of_block |= {"saved": allocate_arrays(layer.saved(node.shape)), "context": self.context}
        of_block |= {"skip": skip, "dskip": dskip}
        if self._first:
            return replace(self._first.buffers[k], **of_block)
        return LayerBuffers(
            **of_block,
            parameters=arrays.parameters[k],
            sums=arrays.sums[k],
            guard=arrays.guard,
            epilogue=node.epilogue,
            prologue=node.prologue,
            prepared=allocate_arrays(layer.prepared(node.shape, dx is not None)),
            group_shared=allocate_arrays(layer.group_shared(node.shape)),
            scratch=scratch,
            number=k,
            frozen=arrays.freezing.layers[k],
        )

    def _skips(self) -> dict[str, tuple[Value, Value | None]]:
        """Return for each saved output, by name, its value, and the value in which its readers sum its gradient.

        The second value is None if no layer before the saved output has parameters, or if no layer reads it.
        """
        readers = {node.layer.reads for node in self._nodes}
        found = {}
        for k, node in enumerate(self._nodes, 1):
            name = node.layer.saves_as
            if name:
                gradient = Value(node.out_shape) if name in readers and self._needs_gradient[k] else None
                found[name] = self.values[k], gradient
        return found
