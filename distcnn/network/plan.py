"""A plan: the buffers for one block of sixteen samples and the kernel calls of its forward and backward pass.

A plan is made once and then executed without a decision, block after block, so that a whole forward and backward pass
stays in the cache and memory does not depend on the size of the batch.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, chain
from typing import Any, NamedTuple, Protocol

import numpy as np

from distcnn.kernels.loss import softmax_cross_entropy
from distcnn.kernels.pointwise import pack
from distcnn.kernels.program import Program
from distcnn.lanes import LANES, aligned
from distcnn.layers.base import Layer, LayerBuffers
from distcnn.layers.context import BlockContext
from distcnn.layers.declarations import Call, Shape
from distcnn.layers.values import Scratch, Value, allocate_arrays
from distcnn.network import buffer_sharing, passes
from distcnn.network.passes import Node

Slots = tuple[list[buffer_sharing.Slot], list[buffer_sharing.Slot]]  # of values and of gradients


class Block(NamedTuple):
    """Up to sixteen samples, one in each lane.

    images: [n, c, h, w] uint8 or float32, all images of the dataset or batch.
    index: [16] int64, the number in `images` of each lane's sample; in an empty lane any valid number.
    label: [16], the label of each lane's sample.
    weight: [16] float32, 1 for each sample, 0 in an empty lane.
    """

    images: np.ndarray
    index: np.ndarray  # type: ignore[assignment]  # not the method of a tuple
    label: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(cls, images: np.ndarray, labels: np.ndarray, samples: np.ndarray) -> "Block":
        """Return the block of these samples, 1 to 16 of them; an empty lane repeats the first."""
        index = np.ascontiguousarray(samples, np.int64)
        if len(samples) < LANES:
            index = np.full(LANES, samples[0], np.int64)
            index[: len(samples)] = samples
        return cls(images, index, labels.take(index), _WEIGHTS[len(samples)])


_WEIGHTS = np.tri(LANES + 1, LANES, -1, dtype=np.float32)  # row n: n ones


class Augmentation(Protocol):
    """What distorts images on their way into lanes, see distcnn.data.augmentation."""

    @property
    def kernels(self) -> list:
        """All kernels, to be compiled."""

    def load(self, block: Block, scale: np.ndarray, shift: np.ndarray, x: np.ndarray) -> None:
        """Write the distorted images of a block to x [1, c, h, w, 16]."""

    def worker_copy(self, context: BlockContext) -> "Augmentation":
        """Return the same distortions with buffers of their own."""


class NetArrays(NamedTuple):
    """The arrays of a net and a worker that kernels read and write.

    parameters: for each layer, its parameters and running statistics by name, float32.
    sums: for each layer, their exact sums by name, int64.
    head: the counters at the head of the exact sums, see distcnn.numerics.fixed_point.
    guard: int64 [2], see distcnn.lanes.sums.
    """

    parameters: list[dict[str, np.ndarray]]
    sums: list[dict[str, np.ndarray]]
    head: np.ndarray
    guard: np.ndarray


class ForwardPlan:
    """The forward pass of a block: what plans for training and for inference have in common.

    values: of the input and of what each node gives.
    x, y: the first and the last of them.
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
        inputs = self.y.array, self._label, self.context.weights, last.rejection_logit
        self._loss = softmax_cross_entropy.compiled, inputs, (dy, arrays.head, arrays.guard)

    def prepare(self) -> None:
        """Bring the parameters into the form that kernels want: before the first block and after each update."""
        self._prepare()

    def load(
        self,
        block: Block,
        scale: np.ndarray,
        shift: np.ndarray,
        augmentation: Augmentation | None = None,
    ) -> None:
        """Write the images of a block to x, distorted if there is an augmentation, then multiplied and shifted.

        block: the samples.
        scale, shift: [c] float32.
        augmentation: how to distort images; None for not at all.
        """
        self._label[:], self.context.weights[:] = block.label, block.weight
        self.context.samples[:] = block.index
        if augmentation:
            augmentation.load(block, scale, shift, self.x.inside)
        else:
            self._pack[block.images.dtype](block.images, block.index, scale, shift, self.x.inside)

    def forward(self) -> None:
        """Compute y from x."""
        self.forward_program()

    def loss(self, smoothing: float = 0.0) -> None:
        """Add loss and counts to the head and compute dy; smoothing: of the labels."""
        kernel, inputs, outputs = self._loss
        kernel(*inputs, smoothing, *outputs)


class Plan(ForwardPlan):
    """The plan of one block for training.

    dx, dy: the gradients of x and y; dx is None if it is not wanted.
    backward_program: the calls of the backward pass, last layer first.
    layers_end: for each layer, the last one first, how many of these calls have run when it is done.
    buffers: of each layer.
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

        layers: of the net.
        shapes: those between the layers, that of the input first.
        arrays: of the net and the worker.
        context: of this block.
        input_gradient: whether dx is wanted. Gradients go back as far as there are parameters otherwise.
        first: the plan of the first block of the group, which prepares the parameters for all; None for this one.
        """
        self._made_of, self._first = (layers, shapes, arrays), first
        self._nodes: list[Node] = first._nodes if first else passes.for_training(layers, shapes)
        self._slots: Slots = first._slots if first else buffer_sharing.training_slots(self._nodes, shapes[0])
        self._wanted = [input_gradient or any(arrays.parameters[:k]) for k in range(len(shapes))]
        value_slots, gradient_slots = self._slots
        values = buffer_sharing.allocate([*value_slots, *gradient_slots])
        super().__init__(context, values[: len(shapes)])
        self._gradients = values[len(shapes) :]
        self.dy, self.dx = self._gradients[-1], self._gradients[0] if input_gradient else None
        self._set_all_calls()
        if len(shapes[-1]) == 1:
            self._set_loss(layers[-1], self.dy.array, arrays)

    def for_next_block(self) -> "Plan":
        """Return the plan of another block of the group that begins with this one."""
        return Plan(*self._made_of, self.context.for_next_block(), self.dx is not None, first=self)

    def _set_all_calls(self) -> None:
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
            is_done = node.backward_fused or is_view(gradient_slots, k)
            backward.insert(0, [] if is_done else node.layer.backward(buffers))
        self._set_calls(prepare, forward)
        self.backward_program = Program(chain.from_iterable(backward))
        self.layers_end = list(accumulate(map(len, backward)))

    def _buffers_of(self, k: int, skips: dict, scratch: Scratch) -> LayerBuffers:
        """Return the buffers of node k; skips: see `_skips`."""
        node, layer, (_, _, arrays) = self._nodes[k], self._nodes[k].layer, self._made_of
        dx = self._gradients[k] if self._wanted[k] else None
        skip, _ = skips.get(layer.reads, (None, None))
        _, dskip = skips.get(layer.reads or layer.saves_as, (None, None))
        own: dict[str, Any] = {"x": self.values[k], "y": self.values[k + 1]}
        own |= {"dx": dx, "dy": self._gradients[k + 1]}
        own |= {"saved": allocate_arrays(layer.saved(node.shape)), "context": self.context}
        own |= {"skip": skip, "dskip": dskip}
        if self._first:
            return replace(self._first.buffers[k], **own)
        return LayerBuffers(
            **own,
            parameters=arrays.parameters[k],
            sums=arrays.sums[k],
            guard=arrays.guard,
            epilogue=node.epilogue,
            prologue=node.prologue,
            prepared=allocate_arrays(layer.prepared(node.shape, dx is not None)),
            group_shared=allocate_arrays(layer.group_shared(node.shape)),
            scratch=scratch,
            number=k,
        )

    def _skips(self) -> dict[str, tuple[Value, Value | None]]:
        """Return the saved outputs by name, and where their readers add up their gradients, if these are wanted."""
        readers = {node.layer.reads for node in self._nodes}
        found = {}
        for k, node in enumerate(self._nodes, 1):
            name = node.layer.saves_as
            if name:
                gradient = Value(node.out_shape) if name in readers and self._wanted[k] else None
                found[name] = self.values[k], gradient
        return found


def is_view(slots: Sequence[buffer_sharing.Slot], k: int) -> bool:
    """Return whether node k has nothing to compute, as its output is a view of its input."""
    return slots[k].value != slots[k + 1].value and slots[k].place == slots[k + 1].place
