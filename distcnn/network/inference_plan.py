"""A plan for evaluation and prediction: only the forward pass, in as much memory as a few neighboring layers need.

The plan leaves out layers that act only in training, folds norms into the convolutions before them, and reuses the
memory of outputs that no later layer reads. All this depends only on the layers, and folding uses only operations that
round the same way on every CPU, so that an evaluation has the same bits on all ranks and machines.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from distcnn.lanes import aligned
from distcnn.layers.base import Layer, LayerBuffers
from distcnn.layers.context import BlockContext
from distcnn.layers.declarations import Call, Shape
from distcnn.layers.values import Scratch, Value, allocate_arrays
from distcnn.network import buffer_sharing, passes
from distcnn.network.buffer_sharing import is_view
from distcnn.network.losses import LOSSES
from distcnn.network.passes import Node
from distcnn.network.plan import ForwardPlan, NetArrays


class InferencePlan(ForwardPlan):
    """The plan of one block for evaluation and prediction.

    memory: the bytes that all values occupy.
    """

    def __init__(self, layers: Sequence[Layer], shapes: Sequence[Shape], arrays: NetArrays) -> None:
        """Allocate the buffers and compile the calls; arguments as in `Plan`. Only `loss` adds to the exact sums."""
        nodes = passes.for_inference(layers, shapes)
        slots = buffer_sharing.inference_slots(nodes, shapes[0])
        super().__init__(BlockContext(0), buffer_sharing.allocate(slots))
        self.memory = sum(buffer_sharing.sizes(slots).values()) * self.x.array.itemsize
        saved, scratch = {}, Scratch()
        prepare, forward = [], []
        for k, node in enumerate(nodes):
            parameters, calls = _parameters(node, arrays)
            buffers = self._buffers_of(k, node, parameters, arrays, saved, scratch)
            prepare += calls + node.layer.prepare(buffers)
            if not is_view(slots, k):
                forward += node.layer.forward(buffers)
            if node.layer.saves_as:
                saved[node.layer.saves_as] = buffers.y
        self._set_calls(prepare, forward)
        self._make_probabilities = LOSSES[arrays.task.name].probabilities
        if len(shapes[-1]) == 1:
            unused = aligned(self.y.array.shape)  # the gradient of the loss
            self._set_loss(layers[-1], unused, arrays)

    def _buffers_of(
        self,
        k: int,
        node: Node,
        parameters: dict[str, np.ndarray],
        arrays: NetArrays,
        saved: dict[str, Value],
        scratch: Scratch,
    ) -> LayerBuffers:
        layer, shape = node.layer, node.shape
        return LayerBuffers(
            x=self.values[k],
            y=self.values[k + 1],
            parameters=parameters,
            sums=arrays.sums[node.number],
            guard=arrays.guard,
            epilogue=node.epilogue,
            saved=allocate_arrays(layer.saved(shape)),
            prepared=allocate_arrays(layer.prepared(shape, False)),
            group_shared=allocate_arrays(layer.group_shared(shape)),
            scratch=scratch,
            number=node.number,
            context=self.context,
            skip=saved[layer.reads] if layer.reads else None,
        )

    @cached_property
    def _probabilities(self) -> Value:
        return Value(self.y.shape)

    def probabilities(self) -> Value | None:
        """Compute and return the probabilities of y, None if the task has none; the next call overwrites them."""
        if self._make_probabilities is None:
            return None
        self._make_probabilities(self.y.channels, self._probabilities.channels)
        return self._probabilities


def _parameters(node: Node, arrays: NetArrays) -> tuple[dict[str, np.ndarray], list[Call]]:
    """Return the parameters of a node, with a norm folded into them if there is one, and the calls that do that."""
    parameters = arrays.parameters[node.number]
    if node.norm is None:
        return parameters, []
    weight = parameters["weight"]
    bias = parameters.get("bias", np.zeros(len(weight), np.float32))
    folded = {"weight": aligned(weight.shape), "bias": aligned(weight.shape[:1])}
    return folded, node.norm.layer.fold(arrays.parameters[node.norm.number], weight, bias, folded)
