"""What a layer is: shapes, parameters, declarations for the planner, and the kernel calls of its two passes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from distcnn.layers.context import BlockContext
from distcnn.layers.declarations import RELU, Array, Call, Fusion, MemoryUse, Parameter, Shape
from distcnn.layers.values import NO_BORDER, Border, Scratch, Value


@dataclass(frozen=True)
class LayerBuffers:
    """The arrays of one layer in one plan, and what its calls do for its neighbors.

    x, y: activations.
    dx, dy: their gradients. dx is None if the gradient of x is not wanted; both are None in inference.
    parameters: float32 arrays by name: parameters and running statistics.
    sums: int64 exact sums by the same names; the backward pass adds gradients to them.
    guard: int64 [2], which kernels that add to sums take, see distcnn.lanes.sums.
    epilogue: the layer behind this one whose work the forward calls do too; None if there is none.
    prologue: the layer before this one whose derivative the backward calls apply too; None if there is none.
    saved: the arrays that `Layer.saved` declares, for each block.
    prepared: the arrays that `Layer.prepared` declares, for all blocks.
    group_shared: the arrays that `Layer.group_shared` declares, for all blocks of a group.
    scratch: temporary memory.
    number: the place of the layer in the net.
    context: the samples of the block, and the settings.
    skip: the output that the layer named by `reads`; None if it reads none.
    dskip: where the gradient of a saved output is added up; None if it is not wanted.
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

    @property
    def relu(self) -> bool:
        """Whether y is to be max(y, 0)."""
        return self.epilogue is not None and self.epilogue.fusion.kind == RELU

    @property
    def mask(self) -> bool:
        """Whether dx is to be 0 where x, the output of a ReLU, is not above 0."""
        return self.prologue is not None and self.prologue.fusion.kind == RELU


class Layer:
    """Base of all layers: a description that plans ask for shapes, arrays and kernel calls.

    To write a layer, derive a frozen dataclass whose fields are the layer's arguments; it holds nothing else, so that
    one object may stand in several nets. Define `output_shape`, `forward` and `backward`, and `parameters` if there
    are any. `forward` and `backward` are called once, when a plan is made, and return kernel calls, (kernel,
    arguments) each, which then run for every block. Arguments are numbers and views of the arrays in `LayerBuffers`;
    the samples of a block lie in the last axis, of sixteen. Everything else below has a default that is right for a
    layer that fuses with no neighbor and shares no memory.

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

    `backward` computes dx if it is not None, and adds the gradient of each parameter, summed over the block's samples,
    to the exact sums of its name, by the functions of distcnn.lanes.sums. Each kernel must give the same bits for a
    block whatever other blocks there are.

    fusion: what this layer and its neighbors can do in one kernel.
    memory: which arrays of this layer are the same array.
    training_only: whether inference leaves the layer out, as then y is x.
    synchronizes: whether the blocks of a group wait for each other in training: some call is a SyncPoint.
    saves_as: the name under which later layers can read y; None for no name.
    reads: the name of the saved output that this layer reads; None for none.
    rejection_logit: if this is the last layer, the logit of one more class in the loss, which no sample has.
    """

    fusion = Fusion()
    memory = MemoryUse()
    training_only: bool = False
    synchronizes: bool = False
    saves_as: str | None = None
    reads: str | None = None
    rejection_logit: float = -math.inf

    # ---- shapes ----

    def output_shape(self, shape: Shape, *saved: Shape) -> Shape:
        """Return the shape of y, without samples, for x of `shape`; raise NetError if x does not fit.

        saved: the shape of the output that the layer `reads`, if it reads one.
        """
        raise NotImplementedError

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        """Return the parameters by name, in the order of declaration."""
        return {}

    def statistics(self, shape: Shape) -> dict[str, Parameter]:
        """Return the running statistics by name: arrays that follow the data instead of a gradient."""
        return {}

    def flops(self, shape: Shape) -> int:
        """Return the multiplications and additions of a sample's forward pass; elementwise work counts as 0."""
        summed = max((parameter.fan_in for parameter in self.parameters(shape).values()), default=0)
        return round(2 * summed * math.prod(self.output_shape(shape)))

    # ---- what the planner asks ----

    def using(self, conv: str) -> "Layer":
        """Return the layer for a net whose convolutions are computed by `conv`: "winograd" or "direct"."""
        return self

    def border(self, shape: Shape) -> Border:
        """Return the zeros wanted around x."""
        return NO_BORDER

    def gradient_border(self, shape: Shape) -> Border:
        """Return the zeros wanted around dy."""
        return NO_BORDER

    def is_view(self, border: Border) -> bool:
        """Return whether y is the memory of x seen in another shape, if x has this border."""
        return False

    def gradient_over_input(self, shape: Shape) -> bool:
        """Return whether dx may be written over x of this shape."""
        return False

    def saved(self, shape: Shape) -> Mapping[str, Array | Shape]:
        """Return the arrays that the forward pass fills for the backward pass, by name."""
        return {}

    def prepared(self, shape: Shape, with_dx: bool) -> Mapping[str, Array | Shape]:
        """Return the arrays that `prepare` fills, by name.

        with_dx: whether the gradient of x is wanted.
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
        """Return the calls that multiply this layer into the weights of the layer before it, for inference.

        Layers of kind NORM must define it.

        own: the parameters and statistics of this layer.
        weight, bias: those of the layer before; the first axis of weight, and bias, are the channels.
        folded: "weight" and "bias", which the calls write.
        """
        raise NotImplementedError

    def prepare(self, buffers: LayerBuffers) -> list[Call]:
        """Return the calls that fill `prepared` from the parameters; they run whenever the parameters have changed."""
        return []

    def forward(self, buffers: LayerBuffers) -> list[Call]:
        """Return the calls that compute y."""
        raise NotImplementedError

    def backward(self, buffers: LayerBuffers) -> list[Call]:
        """Return the calls that add the parameters' gradients to their sums and compute dx, if it is wanted."""
        raise NotImplementedError
