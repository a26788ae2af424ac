"""What a layer is: its shapes, its parameters, and the kernel calls of its forward and backward pass on one block.

A layer holds its arguments and nothing else, so that one object may stand in several nets; buffers belong to the
plan, which hands each layer a `Wiring`. A call is a pair (kernel, arguments).
"""

import math
import operator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from distcnn.errors import NetError
from distcnn.lanes import LANES, aligned


class Parameter(NamedTuple):
    """Shape of a parameter and how many inputs each of its outputs sums (0: starts at `start` instead of at random)."""

    shape: tuple[int, ...]
    fan_in: int = 0
    start: float = 0.0


class Border(NamedTuple):
    """Zero columns and rows that a layer wants around an array."""

    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0

    def union(self, other):
        """Return the border that holds both."""
        return Border(*map(max, self, other))


NO_BORDER = Border()


def padded(shape, border):
    """Return the shape of an image (c, h, w) with its border; features (n,) have none."""
    left, right, top, bottom = border
    return (shape[0], shape[1] + top + bottom, shape[2] + left + right) if len(shape) == 3 else tuple(shape)


class Value:
    """A block of activations, or their gradient: an array of one block with zeros around its images.

    shape: (c, h, w) or (features,); `inside` is the [1, *shape, 16] part without the zeros. memory: a flat array to
    lie in, zero where the border is; without it the value gets memory of its own.
    """

    def __init__(self, shape, border=NO_BORDER, memory=None):
        self.shape, self.border = tuple(shape), border
        whole = (1, *padded(shape, border), LANES)
        self.array = aligned(whole) if memory is None else memory[: math.prod(whole)].reshape(whole)
        self.inside = self.window(0, 0, *shape[1:]) if any(border) else self.array

    def window(self, row, column, height, width):
        """Return the part of the images that begins at (row, column), which may lie in the zeros around them."""
        top, left = row + self.border.top, column + self.border.left
        return self.array[:, :, top : top + height, left : left + width]

    def bordered(self, border):
        """Return the array with just `border`, of the zeros that it has."""
        left, right, top, bottom = border
        height, width = self.shape[1:]
        return self.window(-top, -left, top + height + bottom, left + width + right)

    def samples(self, count):
        """Return the first `count` samples, [count, *shape]."""
        return np.moveaxis(self.inside[0], -1, 0)[:count]

    def set_samples(self, values):
        """Put up to sixteen samples, [n, *shape], into the lanes, and zero into the rest."""
        self.inside[0, ..., len(values) :] = 0
        self.inside[0, ..., : len(values)] = np.moveaxis(values, 0, -1)

    @property
    def rows(self):
        """The inside as images; features are an image of one row."""
        return self.inside if self.inside.ndim == 5 else self.inside[:, None, None]

    @property
    def channels(self):
        """The inside as images; features are the channels of one pixel."""
        return self.inside if self.inside.ndim == 5 else self.inside[:, :, None, None]


class BlockContext:
    """When a block is computed, and for which samples: what randomness in a layer is a function of.

    samples: int64 [16], the sample's number in each lane; weights: float32 [16], 0 in an empty lane, else 1;
    settings: int64 [3], at TRAINING 1 or 0, at SEED, at EPOCH.
    """

    def __init__(self, seed):
        self.samples = np.zeros(LANES, np.int64)
        self.weights = aligned((LANES,))
        self.settings = np.array([0, seed % 2**63, 0], np.int64)

    def for_next_block(self):
        """Return the moment of another block, whose settings are the same array."""
        other = BlockContext(0)
        other.settings = self.settings
        return other


class Scratch:
    """Memory that calls use for themselves, one after the other: by name, as large as the largest wish so far."""

    def __init__(self):
        self._buffers = {}

    def array(self, name, shape):
        """Return an array of `shape`, as `planes`; what it holds is undefined."""
        if self._buffers.get(name, np.empty(0)).size < planes_size(shape):
            self._buffers[name] = aligned((planes_size(shape),))
        return planes(shape, self._buffers[name])


def planes_size(shape):
    """Return how many numbers `planes` of this shape take."""
    return shape[0] * (-(-math.prod(shape[1:]) // LANES) | 1) * LANES


def planes(shape, memory=None):
    """Return an array of `shape` whose first axis advances by an odd number of cache lines, in memory of its own.

    With powers of two, neighbours on that axis would all fall into one set of the cache. memory: a flat array for it.
    """
    size, plane = planes_size(shape), math.prod(shape[1:])
    memory = aligned((size,)) if memory is None else memory[:size]
    return memory.reshape(shape[0], -1)[:, :plane].reshape(shape)


@dataclass
class LayerBuffers:
    """What a plan hands a layer: its arrays, and what it does for its neighbours.

    x, y: activations; dx, dy: their gradients (dx None: nobody asks for it); parameters and sums: arrays by name, of
    float32 and of exact sums; guard: as in lanes.sums; relu: y is to be what the ReLU behind this layer gives; mask:
    dx is to be the gradient before the ReLU in front of this layer; scratch: room that layers share; kept: the arrays
    that `Layer.kept` asks for; common: those of `Layer.common`; number: the layer's place in the net; moment: see
    Moment; inner: the wiring of a layer inside this one; other: the kept output that this layer takes; dother: where
    those that take it add up its gradient.
    """

    x: Value
    y: Value
    dx: Value | None
    dy: Value | None
    parameters: dict[str, np.ndarray] = field(default_factory=dict)
    sums: dict[str, np.ndarray] = field(default_factory=dict)
    guard: np.ndarray | None = None
    relu: bool = False
    mask: bool = False
    scratch: Scratch = field(default_factory=Scratch)
    filters: np.ndarray | None = None
    rotated_filters: np.ndarray | None = None
    saved: dict[str, np.ndarray] = field(default_factory=dict)
    group_shared: dict[str, np.ndarray] = field(default_factory=dict)
    number: int = 0
    context: BlockContext | None = None
    inner: "LayerBuffers | None" = None
    skip: Value | None = None
    dskip: Value | None = None

    def for_next_block(self, **own):
        """Return the wiring of the same layer for another block of the group, which has these for itself.

        What `Layer.prepare` makes from the parameters serves both.
        """
        return replace(self, **own, inner=self.inner and self.inner.for_next_block(**own))


class Layer:
    """Base of all layers."""

    applies_relu = False  # its forward kernel can apply the ReLU behind it
    applies_mask = False  # its backward kernel can apply the derivative of the ReLU in front of it
    in_place = False  # y is x itself
    training_only = False  # otherwise y is x
    synchronizes = False  # in training, the blocks of a group meet in it: see distcnn.network.group_plan
    folds_norm = False  # its first parameter's first axis are the channels of y, for a norm to be folded into
    gradient_in_place = False  # dx takes the memory of dy
    reads_output = True  # its backward pass may read y
    # The name under which y is kept for later layers, and of the kept output that this one takes:
    saves_as = reads = None
    # As the last layer: the logit, for the loss, of a class to which no sample belongs:
    rejection_logit = -math.inf

    def output_shape(self, shape):
        """Return the shape of y for x of `shape`, both without samples. Raises NetError if x does not fit."""
        raise NotImplementedError

    def parameters(self, shape):
        """Return the layer's parameters by name, in the order of declaration."""
        return {}

    def using(self, conv):
        """Return the layer as a net with this choice of algorithm has it, "winograd" or "direct"."""
        return self

    def statistics(self, shape):
        """Return the layer's running statistics by name: arrays that follow the data instead of a gradient."""
        return {}

    def flops(self, shape):
        """Return the products and sums of a sample's forward pass, 2 a pair; what acts on single numbers is free."""
        summed = max((parameter.fan_in for parameter in self.parameters(shape).values()), default=0)
        return round(2 * summed * math.prod(self.output_shape(shape)))

    def saved(self, shape):
        """Return the shapes, by name, of the float32 arrays that the forward pass keeps for the backward pass."""
        return {}

    def group_shared(self, shape):
        """Return the shapes, by name, of the float32 arrays that all blocks of a group have in common."""
        return {}

    def border(self, shape):
        """Return the zeros wanted around x."""
        return NO_BORDER

    def gradient_border(self, shape):
        """Return the zeros wanted around dy."""
        return NO_BORDER

    def prepare(self, buffers):
        """Return the calls that bring parameters into the form that the others want, once for many blocks."""
        return []

    def is_view(self, border):
        """Tell whether y is x's own memory, seen in another shape, if x has this border."""
        return False

    def gradient_over_input(self, shape):
        """Tell whether dx may take the memory of x of this shape."""
        return False

    def forward(self, buffers):
        """Return the calls that compute y."""
        raise NotImplementedError

    def backward(self, buffers):
        """Return the calls that add the parameters' gradients to their sums and compute dx, if it is wanted."""
        raise NotImplementedError


def listed(layers):
    """Return layers as a list, or raise NetError."""
    try:
        return list(layers)
    except TypeError:
        raise NetError(f"layers is {layers!r}; wanted a list of objects from distcnn.layers") from None


def check_image(layer, shape):
    """Return (c, h, w), or raise NetError if `shape` is not that of an image."""
    if len(shape) != 3:
        raise NetError(f"{layer} wants images (c, h, w), but its input has shape {shape}")
    return shape


MOST = 2**31 - 1  # of any size or count: products of a few still fit into 64 bits


def is_whole(value, least):
    """Tell whether a value is a whole number from `least` on."""
    return (
        hasattr(type(value), "__index__")
        and not isinstance(value, bool)
        and least <= operator.index(value) <= MOST
    )


def check_whole(layer, least, **arguments):
    """Raise NetError unless each argument is a whole number of at least `least`."""
    for name, value in arguments.items():
        if not is_whole(value, least):
            raise NetError(
                f"{type(layer).__name__}: {name} is {value!r}; wanted a whole number from {least} on, below 2**31"
            )


def check_yes_or_no(layer, **arguments):
    """Raise NetError unless each argument is True or False."""
    for name, value in arguments.items():
        if not isinstance(value, bool | np.bool_):
            raise NetError(f"{type(layer).__name__}: {name} is {value!r}; wanted True or False")


def check_positive(layer, **arguments):
    """Raise NetError unless each argument is a finite number above 0."""
    for name, value in arguments.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise NetError(f"{type(layer).__name__}: {name} is {value!r}; wanted a number above 0")
