"""The base class of layers: shapes, parameters, declarations for the planner, and the kernel calls of both passes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from distcnn.errors import NetError
from distcnn.layers import literals
from distcnn.layers.context import BlockContext
from distcnn.layers.declarations import RELU, Array, Call, Fusion, MemoryUse, Parameter, Shape
from distcnn.layers.values import NO_BORDER, Border, Scratch, Value


@dataclass(frozen=True)
class LayerBuffers:
    """The arrays of one layer in one plan, and the neighboring layers whose work its calls must also do.

    x, y: the activations before and after the layer.
    dx, dy: the gradients of x and y. dx is None if no caller needs it; both are None in inference.
    parameters: float32 arrays by name: parameters and running statistics.
    sums: int64 exact sums by the same names; the backward pass adds gradients to them.
    guard: int64 [2], an argument of all kernels that add to exact sums, see distcnn.lanes.sums.
    epilogue: the next layer, if the forward calls must also do its work; else None.
    prologue: the previous layer, if the backward calls must also apply its derivative; else None.
    saved: the arrays that `Layer.saved` declares; each block has its own.
    prepared: the arrays that `Layer.prepared` declares; all blocks share them.
    group_shared: the arrays that `Layer.group_shared` declares; all blocks of a group share them.
    scratch: temporary memory.
    number: the index of the layer in the net.
    context: the samples of the block, and the settings.
    skip: the saved output that this layer reads, see `Layer.reads`; None if it reads none.
    dskip: the value in which the readers of a saved output sum its gradient; None if no caller needs it.
    frozen: whether the parameters of the layer are frozen, so that `Layer.backward` may leave out the calls that only
        compute their gradients, which nobody reads.
    """

    x: Value
    y: Value
    dx: Value | None = None
    dy: Value | None = None
    parameters: dict[str, np.ndarray] = field(default_factory=dict)
    sums: dict[str, np.ndarray] = field(default_factory=dict)
    guard: np.ndarray | None = None
    epilogue: "Layer | None" = None
    prologue: "Layer | None" = None
    saved: dict[str, np.ndarray] = field(default_factory=dict)
    prepared: dict[str, np.ndarray] = field(default_factory=dict)
    group_shared: dict[str, np.ndarray] = field(default_factory=dict)
    scratch: Scratch = field(default_factory=Scratch)
    number: int = 0
    context: BlockContext | None = None
    skip: Value | None = None
    dskip: Value | None = None
    frozen: bool = False

    @property
    def relu(self) -> bool:
        """Whether the forward calls must also apply a ReLU to y."""
        return self.epilogue is not None and self.epilogue.fusion.kind == RELU

    @property
    def mask(self) -> bool:
        """Whether the backward calls must set dx to 0 where x, the output of a ReLU, is not above 0."""
        return self.prologue is not None and self.prologue.fusion.kind == RELU


class Layer:
    """The base class of all layers: a layer describes its shapes, arrays and kernel calls to the planner.

    To write a layer, derive a frozen dataclass whose fields are the layer's arguments. It must have no other state, so
    that one object can be used in several nets. Define `output_shape`, `forward` and `backward`, and `parameters` if
    there are any. `forward` and `backward` are called once, when a plan is made, and return a list of kernel calls,
    (kernel, arguments) each, which then run for every block. Arguments are numbers and views of the arrays in
    `LayerBuffers`; the last axis of an activation has the sixteen samples of a block. All other methods and attributes
    have defaults that are right for a layer which is not fused with its neighbors and does not work in place.

        @kernel("f4:5 f4:5")
        def square_forward(x, y): ...

        @dataclass(frozen=True)
        class Square(Layer):
            def output_shape(self, shape):
                return shape

            def forward(self, buffers):
                return [(square_forward, (buffers.x.rows, buffers.y.rows))]

            def backward(self, buffers):
                if buffers.dx is None:
                    return []
                return [(square_backward, (buffers.x.rows, buffers.dy.rows, buffers.dx.rows))]

    `backward` computes dx if buffers.dx is not None. It also adds the gradient of each parameter, summed over the
    samples of the block, to the exact sums with the name of the parameter, by the functions of distcnn.lanes.sums. The
    result of a kernel for one block must not depend on other blocks.

    fusion: which work this layer and its neighbors can do in one kernel.
    memory: which arrays of this layer are the same array.
    training_only: whether y is x in inference, so that inference leaves the layer out.
    synchronizes: whether the blocks of a group wait for each other in training, because a call is a SyncPoint.
    saves_as: the name under which later layers can read y; None for no name.
    reads: the name of the saved output that this layer reads; None if it reads none.
    rejection_logit: the logit of one further class, to which no sample belongs, in the loss after this layer.
    by_position: the arguments that were given without their names, if `layers.argument_order` looks at these.
    """

    fusion = Fusion()
    memory = MemoryUse()
    training_only: bool = False
    synchronizes: bool = False
    saves_as: str | None = None
    reads: str | None = None
    rejection_logit: float = -math.inf
    by_position: tuple[Any, ...] = ()

    # ---- notation ----

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Keep the inherited `__repr__`, in place of which a dataclass would otherwise define one of its own."""
        super().__init_subclass__(**arguments)
        if "__repr__" not in vars(cls):
            cls.__repr__ = cls.__repr__  # type: ignore[method-assign]

    def __repr__(self) -> str:
        """Return the layer in the notation of networks, from which distcnn.models.notation makes it again."""
        try:
            return literals.call(self)
        except NetError:  # an argument that the notation cannot hold
            return object.__repr__(self)

    def __str__(self) -> str:
        """Return the layer as in the notation of networks, without long arguments, for messages."""
        found = repr(self)
        return found if len(found) <= literals.SHORT else literals.call(self, literals.SHORT)

    # ---- shapes ----

    def output_shape(self, shape: Shape, *saved: Shape) -> Shape:
        """Return the shape of y, without samples; raise NetError if the layer cannot take such an input.

        shape: the shape of x, without samples.
        saved: the shape of the saved output that the layer reads; no argument if it reads none.
        """
        raise NotImplementedError

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        """Return the parameters by name; their order is the order in which checkpoints store them."""
        return {}

    def statistics(self, shape: Shape) -> dict[str, Parameter]:
        """Return the running statistics by name: arrays that are updated from the data, not by a gradient."""
        return {}

    def flops(self, shape: Shape) -> int:
        """Return how many multiplications and additions a forward pass needs per sample, without elementwise work."""
        summed = max((parameter.fan_in for parameter in self.parameters(shape).values()), default=0)
        return round(2 * summed * math.prod(self.output_shape(shape)))

    # ---- what the planner asks ----

    def using(self, conv: str) -> "Layer":
        """Return this layer with the convolution algorithm `conv`, "winograd" or "direct", as in `Net`."""
        return self

    def border(self, shape: Shape) -> Border:
        """Return how many zeros the calls of this layer need around x."""
        return NO_BORDER

    def gradient_border(self, shape: Shape) -> Border:
        """Return how many zeros the calls of this layer need around dy."""
        return NO_BORDER

    def is_view(self, border: Border) -> bool:
        """Return whether y is a view of x, in another shape, if x has this border."""
        return False

    def gradient_over_input(self, shape: Shape) -> bool:
        """Return whether the backward calls may write dx over x, for x of this shape."""
        return False

    def saved(self, shape: Shape) -> Mapping[str, Array | Shape]:
        """Return the arrays that the forward pass fills for the backward pass, by name."""
        return {}

    def prepared(self, shape: Shape, with_dx: bool) -> Mapping[str, Array | Shape]:
        """Return the arrays that the calls of `prepare` fill, by name.

        shape: the shape of x.
        with_dx: whether the backward pass computes dx.
        """
        return {}

    def group_shared(self, shape: Shape) -> Mapping[str, Array | Shape]:
        """Return arrays that all blocks of a group share besides the weights, by name."""
        return {}

    # ---- calls ----

    def fold(
        self,
        own: dict[str, np.ndarray],
        weight: np.ndarray,
        bias: np.ndarray,
        folded: dict[str, np.ndarray],
    ) -> list[Call]:
        """Return the calls that multiply this layer into the weights of the previous layer, for inference.

        Layers of kind NORM must define this method.

        own: the parameters and statistics of this layer.
        weight, bias: the parameters of the previous layer; the first axis of both is the channels.
        folded: the arrays "weight" and "bias", which the calls write.
        """
        raise NotImplementedError

    def prepare(self, buffers: LayerBuffers) -> list[Call]:
        """Return the calls that fill the prepared arrays from the parameters; they run after each update of these."""
        return []

    def forward(self, buffers: LayerBuffers) -> list[Call]:
        """Return the calls that compute y."""
        raise NotImplementedError

    def backward(self, buffers: LayerBuffers) -> list[Call]:
        """Return the calls that add the gradients of the parameters to their sums, and compute dx unless it is None.

        They need not compute the gradients if buffers.frozen.
        """
        raise NotImplementedError
