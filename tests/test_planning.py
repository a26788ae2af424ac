"""The passes of planning, each by itself, and layers from outside of the package in whole plans."""

from dataclasses import dataclass

import numpy as np
import pytest

from distcnn import Net
from distcnn.kernels.jit import kernel
from distcnn.kernels.program import SyncPoint
from distcnn.lanes import add_sums, fma, load, splat, store
from distcnn.layers import (
    Add,
    BatchNorm2D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    MaxPool2D,
    MeanPool2D,
    ReLU,
    SaveAs,
    Tanh,
)
from distcnn.layers.base import Layer
from distcnn.layers.declarations import RELU, Array, Fusion, MemoryUse, Parameter
from distcnn.layers.values import Border
from distcnn.network import buffer_sharing, passes
from distcnn.network.group_plan import segments, synchronize
from distcnn.network.shapes import infer_shapes
from tests.helpers import oracle
from tests.helpers.arrays import close, normal

# ---- layers that are not ours ----


@kernel("f4:5 f4 f4:5")
def leaky_forward(x, slope, y):
    """y = x where x > 0, else slope * x."""
    for c in range(x.shape[1]):
        for r in range(x.shape[2]):
            for q in range(x.shape[3]):
                for n in range(16):
                    value = x[0, c, r, q, n]
                    y[0, c, r, q, n] = value if value > 0 else np.float32(slope) * value


@kernel("f4:5 f4:5 f4 f4:5")
def leaky_backward(x, dy, slope, dx):
    """dx = dy where x > 0, else slope * dy."""
    for c in range(x.shape[1]):
        for r in range(x.shape[2]):
            for q in range(x.shape[3]):
                for n in range(16):
                    value = dy[0, c, r, q, n]
                    dx[0, c, r, q, n] = value if x[0, c, r, q, n] > 0 else np.float32(slope) * value


@dataclass(frozen=True)
class Leaky(Layer):
    """y = x where x > 0, else slope * x: as plain as a layer can be."""

    slope: float = 0.25

    def output_shape(self, shape):
        return shape

    def forward(self, buffers):
        return [(leaky_forward, (buffers.x.rows, self.slope, buffers.y.rows))]

    def backward(self, buffers):
        if buffers.dx is None:
            return []
        return [(leaky_backward, (buffers.x.rows, buffers.dy.rows, self.slope, buffers.dx.rows))]


@kernel("f4:5 f4:1 f4:5")
def channels_forward(x, weight, y):
    """y[c] = weight[c] * x[c]."""
    for c in range(x.shape[1]):
        for r in range(x.shape[2]):
            for q in range(x.shape[3]):
                store(y, (0, c, r, q), splat(weight[c]) * load(x, (0, c, r, q)))


@kernel("f4:5 f4:5 i8:1 i8:1")
def channels_backward_weight(x, dy, g, guard):
    """g[c] += the sum over pixels and samples of x[c] dy[c], an exact sum."""
    for c in range(x.shape[1]):
        total = splat(np.float32(0))
        for r in range(x.shape[2]):
            for q in range(x.shape[3]):
                total = fma(load(x, (0, c, r, q)), load(dy, (0, c, r, q)), total)
        add_sums(g, (c,), (total,), 1, 1, 0, 0, guard)


@dataclass(frozen=True)
class ScaleChannels(Layer):
    """y[c] = weight[c] * x[c]: a layer with a parameter."""

    def output_shape(self, shape):
        return shape

    def parameters(self, shape):
        return {"weight": Parameter(shape[:1], start=1.5)}

    def forward(self, buffers):
        return [(channels_forward, (buffers.x.channels, buffers.parameters["weight"], buffers.y.channels))]

    def backward(self, buffers):
        x, dy, weight = buffers.x.channels, buffers.dy.channels, buffers.parameters["weight"]
        calls = [(channels_backward_weight, (x, dy, buffers.sums["weight"], buffers.guard))]
        return calls + ([(channels_forward, (dy, weight, buffers.dx.channels))] if buffers.dx else [])


@kernel("f4:5 f4:1 i8 f4:5")
def scale_forward(x, factor, relu, y):
    """y = x * factor[0], and 0 for what is below, if `relu`."""
    for c in range(x.shape[1]):
        for r in range(x.shape[2]):
            for q in range(x.shape[3]):
                value = load(x, (0, c, r, q)) * splat(factor[0])
                store(y, (0, c, r, q), value)
                if relu:
                    for n in range(16):
                        y[0, c, r, q, n] = max(y[0, c, r, q, n], np.float32(0))


@kernel("f4:2 f4:1")
def scale_prepare(weight, factor):
    """factor[0] = 2 * weight[0, 0]."""
    factor[0] = 2 * weight[0, 0]


@kernel("f4:5 f4:1 f4:5 i8 f4:5")
def scale_backward(dy, factor, x, mask, dx):
    """dx = dy * factor[0], and 0 where x is not above 0, if `mask`."""
    for c in range(dy.shape[1]):
        for r in range(dy.shape[2]):
            for q in range(dy.shape[3]):
                for n in range(16):
                    passes = not mask or x[0, c, r, q, n] > 0
                    dx[0, c, r, q, n] = dy[0, c, r, q, n] * factor[0] if passes else np.float32(0)


@dataclass(frozen=True)
class Scale(Layer):
    """y = 2 w x, with a ReLU behind it and the derivative of one before it in the same kernels."""

    fusion = Fusion(forward=(RELU,), backward=(RELU,))
    memory = MemoryUse(reads_y=False)

    def output_shape(self, shape):
        return shape

    def parameters(self, shape):
        return {"weight": Parameter((1, 1), start=0.75)}

    def prepared(self, shape, with_dx):
        return {"factor": Array((1,))}

    def prepare(self, buffers):
        return [(scale_prepare, (buffers.parameters["weight"], buffers.prepared["factor"]))]

    def forward(self, buffers):
        factor = buffers.prepared["factor"]
        return [(scale_forward, (buffers.x.rows, factor, buffers.relu, buffers.y.rows))]

    def backward(self, buffers):
        if buffers.dx is None:
            return []
        x, dy, dx, factor = buffers.x.rows, buffers.dy.rows, buffers.dx.rows, buffers.prepared["factor"]
        return [(scale_backward, (dy, factor, x, buffers.mask, dx))]


def test_layers_from_outside_run_in_training_and_inference():
    shape = 2, 7, 9
    layers = [
        Conv2D(4, 3, padding=1),
        Leaky(),
        ScaleChannels(),
        SaveAs("a"),
        Leaky(0.5),
        Add("a"),
        MaxPool2D(2),
    ]
    net, x = Net(layers, shape), normal(18, *shape)
    net.parameters["2.weight"][...] = 0.5, 1, -2, 3
    weight, bias, factor = (view.astype(np.float64) for view in net.parameters.values())

    def formula(x, factor=factor):
        y = oracle.convolve(x, weight, bias, 1, 1)
        y = np.where(y > 0, y, 0.25 * y) * factor[:, None, None]
        return oracle.max_pool(y + np.where(y > 0, y, 0.5 * y), 2, 2, 0, False)

    y = net.forward(x)
    assert close(y, formula(x))
    assert np.array_equal(net.predict(x), y)
    x, dy = x[:2], normal(2, *y.shape[1:], seed=1)
    net.forward(x)
    assert np.allclose(net.backward(dy), oracle.derivative(formula, x, dy, step=1e-6), atol=1e-4)
    wanted = oracle.derivative(lambda value: formula(x, value), factor, dy)
    assert close(net.gradients["2.weight"], wanted, summands=dy)


def test_a_layer_from_outside_fuses_with_ours():
    shape = (3, 4, 5)
    fused, separate = (
        [ReLU(), Scale(), ReLU(), MaxPool2D(2)],
        [ReLU(), Leaky(1.0), Scale(), Leaky(1.0), ReLU()],
    )
    net, other = Net(fused, shape), Net([*separate, Leaky(1.0), MaxPool2D(2)], shape)
    assert [call[0].name for call in net.inference.forward_program.calls][:2] == [
        "relu_forward",
        "scale_forward",
    ]
    x = normal(20, *shape)
    y = net.forward(x)
    wanted = oracle.max_pool(np.maximum(1.5 * np.maximum(x.astype(np.float64), 0), 0), 2, 2, 0, False)
    assert close(y, wanted)
    assert np.array_equal(other.forward(x), y)
    assert np.array_equal(net.predict(x), y)
    dy = normal(*y.shape, seed=1)
    assert np.array_equal(net.backward(dy), other.backward(dy))
    net.parameters["1.weight"][...] *= 2
    assert np.array_equal(net.predict(x), 2 * y)


# ---- the passes ----


def nodes_of(*layers, shape=(4, 8, 8)):
    return passes.to_nodes(layers, infer_shapes(layers, shape)[0])


def summary(found):
    """Return (number, norm, epilogue, prologue, forward_fused, backward_fused), the first two as numbers."""
    return [
        (
            *(node.number, node.norm and node.norm.number, node.epilogue, node.prologue),
            *(node.forward_fused, node.backward_fused),
        )
        for node in found
    ]


def test_to_nodes():
    conv, flatten = Conv2D(2, 3), Flatten()
    found = nodes_of(conv, flatten)
    assert [(node.layer, node.number, node.shape, node.out_shape) for node in found] == [
        (conv, 0, (4, 8, 8), (2, 6, 6)),
        (flatten, 1, (2, 6, 6), (72,)),
    ]


def test_fold_norms():
    """A norm goes into the convolution directly before it, and only the first one."""
    norm = BatchNorm2D()
    found = passes.fold_norms(nodes_of(norm, Conv2D(2, 3), norm, norm, MaxPool2D(2), norm))
    assert [(node.number, node.norm and node.norm.number) for node in found] == [
        *((0, None), (1, 2), (3, None), (4, None), (5, None)),
    ]


def test_fuse_forward():
    relu = ReLU()
    found = passes.fuse_forward(nodes_of(relu, Conv2D(2, 3), relu, relu, Tanh(), relu))
    nothing = None, None
    assert summary(found) == [
        (0, *nothing, None, False, False),
        (1, None, relu, None, False, False),
        (2, *nothing, None, True, False),
        *((k, *nothing, None, False, False) for k in (3, 4, 5)),
    ]


def test_fuse_backward():
    relu = ReLU()
    found = passes.fuse_backward(nodes_of(relu, Conv2D(2, 3), relu, Tanh(), relu, MaxPool2D(2)))
    assert [node.prologue for node in found] == [None, relu, None, None, None, relu]
    assert [node.backward_fused for node in found] == [True, False, False, False, True, False]


def test_what_inference_drops():
    found = passes.fuse_forward(nodes_of(Conv2D(2, 3), ReLU(), Dropout(), Conv2D(2, 3), Dropout(), ReLU()))
    assert [node.number for node in passes.drop_training_only(found)] == [0, 1, 3, 5]
    assert [node.number for node in passes.drop_fused(found)] == [0, 2, 3, 4, 5]


def test_one_array_has_the_borders_that_all_its_readers_want():
    conv = Conv2D(2, 3, padding=1)  # computed directly, with zeros at the sides of x
    found = passes.fuse_forward(nodes_of(Conv2D(3, 1), ReLU(), SaveAs("a"), conv, Tanh()))
    slots = buffer_sharing.value_slots(found, (4, 8, 8))
    assert [slot.array for slot in slots] == [0, 1, 1, 1, 4, 5]
    assert [slot.border for slot in slots] == [Border(), *[Border(1, 1)] * 3, Border(), Border()]


def test_a_gradient_computed_in_place_is_the_same_array():
    slots = buffer_sharing.gradient_slots(nodes_of(Tanh(), Conv2D(2, 3), ReLU(), SaveAs("a")), (4, 8, 8))
    assert [slot.array for slot in slots] == [0, 0, 2, 2, 2]


def test_views_share_memory_where_there_are_no_zeros():
    shape = (4, 4, 4)
    found = nodes_of(Tanh(), Flatten(), Dense(3), shape=shape)
    slots = buffer_sharing.share_views(found, buffer_sharing.value_slots(found, shape))
    assert [(slot.array, slot.region) for slot in slots] == [(0, 0), (1, 1), (2, 1), (3, 3)]
    gradients = [*buffer_sharing.gradient_slots(found, shape)]
    fixed = buffer_sharing.share_views(found, gradients, frozenset({2}))
    assert [slot.region for slot in fixed] == [0, 0, 2, 3]


def test_gradients_lie_over_values_that_nobody_reads_again():
    found = passes.for_training(
        [Conv2D(2, 3), ReLU(), MaxPool2D(2), Tanh()], [(4, 8, 8), *[(2, 6, 6)] * 2, *[(2, 3, 3)] * 2]
    )
    values, gradients = buffer_sharing.training_slots(found, (4, 8, 8))
    assert [slot.array for slot in values] == [0, 1, 1, 3, 4]
    assert [slot.array for slot in gradients] == [5, 1, 1, 8, 8]
    assert gradients[1].region == values[2].region


def test_regions_are_used_again_when_their_last_value_is_read():
    shape = (4, 4, 4)
    found = nodes_of(Tanh(), SaveAs("a"), Tanh(), MeanPool2D(1), Tanh(), Add("a"), Tanh(), shape=shape)
    slots = buffer_sharing.inference_slots(found, shape)
    assert [slot.region for slot in slots] == [
        0,
        1,
        1,
        0,
        2,
        0,
        2,
        0,
    ]  # 1 is the saved output, until it is added


def test_memory_is_as_large_as_the_largest_array_in_it():
    slot = buffer_sharing.Slot
    slots = [slot((2, 3, 4), Border(), 0, 0), slot((24,), Border(), 1, 0), slot((9, 9, 9), Border(), 2, 0)]
    values = buffer_sharing.allocate([*slots, slots[0]])
    assert buffer_sharing.sizes(slots) == {0: 729 * 16}
    assert values[0] is values[3]
    assert values[0] is not values[1]
    assert all(np.shares_memory(values[0].array, value.array) for value in values)
    assert values[1].array.shape == (1, 24, 16)


# ---- programs in segments ----


class Recorded(list):
    """In place of a Program: running it notes which calls are made."""

    def __init__(self, calls):
        super().__init__()
        self.calls = calls

    def __call__(self, first, stop):
        self.append((first, stop))


CALLS = [("a", ()), SyncPoint("b", ()), ("c", ()), ("d", ())]


@pytest.mark.parametrize(
    ("synchronizes", "layers_end", "runs", "syncs", "layers"),
    [
        (False, (), [(0, 4)], [None], [None]),
        (True, (), [(0, 1), (2, 4)], [CALLS[1], None], [None, None]),
        (False, (1, 4), [(0, 1), (1, 4), (4, 4)], [None] * 3, [1, 0, None]),
        (True, (3, 4), [(0, 1), (2, 3), (3, 4), (4, 4)], [CALLS[1], *[None] * 3], [None, 1, 0, None]),
    ],
)
def test_segments(synchronizes, layers_end, runs, syncs, layers):
    program = Recorded(CALLS)
    found = segments(program, synchronizes, layers_end)
    for segment in found:
        segment.run()
    assert list(program) == runs
    assert [segment.sync for segment in found] == syncs
    assert [segment.layer for segment in found] == layers


@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_a_call_for_all_blocks_gets_the_rows_of_all_blocks(blocks):
    calls, target = [], np.zeros(2)
    points = [
        SyncPoint(lambda *given: calls.append(given), (np.full((1, 2), k, np.float32), target))
        for k in range(4)
    ]
    synchronize(points[3], points[:blocks], allgather=lambda rows: rows + 1)
    ((rows, given),) = calls
    assert rows.shape == (blocks, 2)
    assert rows[:, 0].tolist() == [k + 1 for k in range(blocks)]
    assert given is target
