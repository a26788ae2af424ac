"""Compare every layer of every model with the limits of the machine, its arithmetic and its memory, on one core.

    python benchmarks/roofline.py [--only TEXT]

A kernel can be no faster than its arithmetic at the peak of fused multiply-adds, and no faster than its arrays can be
read and written (Williams et al. 2009). For the arithmetic, each operation on sixteen samples counts as one fused
multiply-add, and a division as measured; convolutions count by the direct algorithm, of which Winograd's needs only a
part. For the memory, a plain copy of as many bytes, or that writes as many, is measured, in the cache or memory that
holds them. The share of a kernel is the longer of the two times over its own; each round measures all of them.

A row is a direction of a layer: forward, the gradients of its parameters (dW), or that of its data (dx), which layers
up to the first one with parameters do not compute. Its kernels run one after the other, and their limits add up; if
there are several, each has a line of its own below, too. Rows below 60 % are marked, and printed once more at the end:
with "!", or with "." if the row takes less than 1 % of the time of every model that has the layer. Examples are the ten
outputs of a last layer, or features of images of one pixel: they take a microsecond or less, most of it for the call
and the ends of loops.
"""

from collections import Counter
from dataclasses import fields, replace

import numpy as np
from rounds import Table, arguments

from distcnn.bench.measure import copy_seconds, division_seconds, fma_peak, repeated_seconds
from distcnn.bench.tiles import buffers_of
from distcnn.lanes import LANES
from distcnn.layers import (
    GELU,
    Add,
    Concatenate,
    Conv2D,
    Dense,
    Dropout,
    GaussianPool2D,
    LocallyConnected2D,
    MaxPool2D,
    MeanPool2D,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    TableConv2D,
    Tanh,
    TrainablePool2D,
)
from distcnn.models import MODELS
from distcnn.network.shapes import infer_shapes

ENOUGH = 0.6  # of what limits a row
LITTLE = 0.01  # of a model's time
FURTHER = [  # what no model has, at the sizes of those that have the like: a layer, the shape of its input
    (Conv2D(128, 1), (64, 16, 16)),
    (Conv2D(64, 1), (256, 8, 8)),
    (Conv2D(64, 1, stride=2), (32, 32, 32)),
    (Conv2D(32, 3, padding=1, groups=32), (32, 32, 32)),
    (Conv2D(128, 3, padding=1, groups=128), (128, 8, 8)),
    (Conv2D(64, 3, padding=1, groups=4), (64, 16, 16)),
    (Conv2D(32, 3, padding=2, dilation=2), (32, 16, 16)),
    (Conv2D(32, (1, 7), padding=(0, 3)), (32, 16, 16)),
    (MeanPool2D(2), (32, 32, 32)),
    (MeanPool2D(3, 2, 1), (32, 32, 32)),
    (GaussianPool2D(3, 0.8, 1, 1), (32, 32, 32)),
    (GaussianPool2D(5, 1.2, 2, 2), (32, 32, 32)),
    (TrainablePool2D(3, 2, 1), (32, 32, 32)),
    (MaxPool2D(3, 2, 1), (32, 32, 32)),
    *((layer, (16, 32, 32)) for layer in (ReLU(), Sigmoid(), Tanh(), SiLU(), GELU(), Dropout())),
    (Softmax(), (1000,)),
    *((layer, (16, 32, 32)) for layer in (Add("x"), Concatenate("x"))),
]

EXP, PHILOX = 27, 68  # operations of `exp`, and of random numbers, which four share
EXACT_LANES = 12  # of adding the sums of sixteen features, one in each lane
EXACT_SUM = 9  # of adding one sum over lanes; three of them are its tree's
TURN = 4  # of bringing a feature's samples out of their lanes, so that lanes are features: 64 shuffles for sixteen
OPERATIONS = {  # operations, and divisions, for each number of the output
    "sigmoid_forward": (EXP + 11, 1),
    "tanh_forward": (EXP + 18, 1),
    "silu_forward": (EXP + 12, 1),
    "silu_backward": (EXP + 16, 1),
    "gelu_forward": (EXP + 24, 1),
    "gelu_backward": (EXP + 27, 1),
    "softmax_forward": (EXP + 6, 1),
    "dropout_forward": (PHILOX + 3, 0),
}
TAPS = {  # operations for each tap of a window
    "max_pool_forward": 1.5,
    "max_pool_backward": 3,
    "window_forward": 1,
    "window_backward_data": 1,
    "window_backward_data_apart": 1,
    "window_backward_factor": 1,
}
FIRST = "out_features", "out_channels", "kernel_size", "sigma", "p", "name"  # shown without their names
# Each direction of these has as many operations as `flops` returns:
PRODUCTS = Conv2D, TableConv2D, Dense, LocallyConnected2D


def cases():
    """Return (layer, shape of its input, whether no model wants its dx) of all models and of FURTHER, by title."""
    every = [each for model in MODELS.values() for each in measured(model)]
    found = {}
    for layer, shape, first in every + [(*each, False) for each in FURTHER]:
        name = title(layer, shape)
        _, _, before = found.get(name, (layer, shape, True))
        found[name] = layer, shape, first and before
    return found


def measured(model):
    """Return (layer, shape of its input, whether no layer before it has parameters) of a model.

    Without ReLUs, most of which are done by their neighbors.
    """
    layers = model.layers(model.input_shape, model.classes)
    shapes, _, _ = infer_shapes(layers, model.input_shape)
    found, first = [], True
    for layer, shape in zip(layers, shapes, strict=False):
        if not (layer.reads or layer.memory.y_is_x or isinstance(layer, ReLU)):
            found.append((layer, shape, first))
        first = first and not (layer.reads or layer.parameters(shape))
    return found


def prepared(layer, shape):
    """Return a layer's buffers, with its weights in the form that its kernels want."""
    buffers = buffers_of(layer, shape)
    for kernel, given in layer.prepare(buffers):
        kernel(*given)
    return buffers


def directions(layer, buffers, first):
    """Return the calls of each of a layer's directions that has any, by name; `first`: its dx is not wanted."""
    if layer.is_view(buffers.x.border) and np.shares_memory(buffers.x.array, buffers.y.array):
        return {}
    alone = replace(buffers, dx=None)
    weights = layer.backward(alone) if buffers.parameters else []
    kernels = [kernel for kernel, _ in weights]
    data = [] if first else [call for call in layer.backward(buffers) if call[0] not in kernels]
    found = {"forward": layer.forward(buffers), "dW": weights, "dx": data}
    return {name: calls for name, calls in found.items() if calls}


def kind(kernel):
    """Return a kernel's name without its constants."""
    return kernel.name.rstrip("_0123456789")


def bytes_of(calls, buffers):
    """Return the bytes that calls read and write at the least: of each array once, of exact sums twice."""
    values = buffers.x, buffers.y, buffers.dx, buffers.dy, buffers.skip, buffers.dskip
    values = [value for value in values if value]
    known = [each.inside for each in values] + [*buffers.parameters.values(), *buffers.saved.values()]
    sums = [*buffers.sums.values()]
    given = [each for _, all_given in calls for each in all_given if isinstance(each, np.ndarray)]
    known_and_given = [a for a in known + sums * 2 if any(np.may_share_memory(a, b) for b in given)]
    return sum(bytes_given(a, given) for a in known_and_given)


def written_by(name, calls, buffers):
    """Return the bytes of activations, or of their gradient, that calls of a direction write."""
    value = {"forward": buffers.y, "dx": buffers.dx}.get(name)
    given = [each for _, all_given in calls for each in all_given if isinstance(each, np.ndarray)]
    is_given = value and any(np.may_share_memory(value.array, each) for each in given)
    return value.inside.nbytes if is_given else 0


def bytes_given(array, given):
    """Return the bytes of an array, or of those views of it that are given."""
    return min(array.nbytes, sum(each.nbytes for each in given if np.may_share_memory(array, each)))


def limits(name, calls, layer, shape, buffers):
    """Return how long the arithmetic takes and how long a copy, in seconds, of those kernels that each of them limits.

    The kernels of a product have one limit together; of others each has its own.
    """
    peak, division = fma_peak(), division_seconds()
    if isinstance(layer, PRODUCTS):
        operations = layer.flops(shape) / 2 + (exact_operations(layer, shape) if name == "dW" else 0)
        found = [(operations * 2 * LANES / peak, copy_time(name, calls, buffers))]
    else:
        known = layer, shape, peak, division
        found = [(arithmetic_time(kind(each[0]), *known), copy_time(name, [each], buffers)) for each in calls]
    return [sum(times) for times in zip(*([a, 0] if a > m else [0, m] for a, m in found), strict=True)]


def copy_time(name, calls, buffers):
    """Return how long a copy takes of what calls read and write."""
    return copy_seconds(max(bytes_of(calls, buffers), 2 * written_by(name, calls, buffers)))


def arithmetic_time(name, layer, shape, peak, division):
    """Return how long a kernel's operations take, each in the place of a fused multiply-add."""
    one = 2 * LANES / peak
    if name.endswith("bias_gradient"):
        return EXACT_SUM * np.prod(layer.parameters(shape)["bias"].shape) * one
    if name.startswith("radial"):
        return 2 * layer.centres.size * one
    if name in TAPS:
        return TAPS[name] * np.prod(layer.output_shape(shape)) * np.prod(layer.taps) * one
    operations, divisions = OPERATIONS.get(name, (0, 0))
    return np.prod(shape) * (operations * one + divisions * division)


def exact_operations(layer, shape):
    """Return how many operations the exact sums of a layer's parameters take, and the turning before them, if any."""
    parameters = layer.parameters(shape)
    sums = np.prod(parameters["weight"].shape)
    biases = np.prod(parameters["bias"].shape) if layer.bias else 0
    if isinstance(layer, Dense | LocallyConnected2D) or layer.output_shape(shape)[1:] == (1, 1):
        transposed = sums / layer.output_shape(shape)[0]
        return EXACT_LANES * sums / LANES + TURN * transposed + EXACT_SUM * biases
    return EXACT_SUM * (sums + biases)


def title(layer, shape):
    """Return a layer, as one types it, and the shape of its input."""
    named = {each.name: getattr(layer, each.name) for each in fields(layer) if is_shown(layer, each)}
    words = [f"{value}" if name in FIRST else f"{name}={value}" for name, value in named.items()]
    return f"{type(layer).__name__}({', '.join(words)}) of {' x '.join(map(str, shape))}"


def is_shown(layer, each):
    """Return whether an argument is to be shown: not one that has its default, nor a long table."""
    return each.repr and each.name != "connections" and getattr(layer, each.name) != each.default


def row(table, what, name, calls, *of):
    """Measure, save and print a row; return its time and its share. of: layer, shape, buffers."""
    seconds, share, limit = measure(table, name, calls, *of)
    record = {"what": what, "unit": "s", "ours": seconds, "rounds": table.rounds, "peers": {}}
    table.rows.append(record | {"limit": limit, "of_limit": share})
    show(what, seconds, share, limit, "" if share >= ENOUGH else "  !")
    if len(calls) > 1 and not isinstance(of[0], PRODUCTS):
        for each in calls:
            show(f"    {kind(each[0])}", *measure(table, name, [each], *of))
    return seconds, share


def measure(table, name, calls, *of):
    """Return the time of a direction's calls, the part of it that limits allow, and which limit says most."""
    found = []
    for _ in range(table.rounds):
        seconds = repeated_seconds(calls)
        found.append((seconds, *(each / seconds for each in limits(name, calls, *of))))
    seconds, arithmetic, memory = map(float, np.median(found, axis=0))
    return seconds, arithmetic + memory, "arithmetic" if arithmetic > memory else "memory"


def show(what, seconds, share, limit, mark=""):
    """Print a line."""
    print(f"{what:70s} {1e6 * seconds:10.1f} us  {share:4.0%} of {limit}{mark}", flush=True)


def most_of_a_model(what, rows):
    """Return the largest part, of any model's time, that a row takes there in all; None if no model has it."""
    parts = []
    for model in MODELS.values():
        counts = occurrences(model, rows)
        total = sum(count * rows[each] for each, count in counts.items())
        if what in counts:
            parts.append(counts[what] * rows[what] / total)
    return max(parts, default=None)


def occurrences(model, rows):
    """Return how often each of the rows occurs in a model."""
    counts = Counter()
    for layer, shape, first in measured(model):
        of_layer = [each for each in rows if each.startswith(f"{title(layer, shape)}: ")]
        counts.update(each for each in of_layer if not (first and each.endswith(": dx")))
    return counts


def verdict(rows, low):
    """Print the rows below ENOUGH once more, with what they take of a model. rows: all times by name."""
    for what, share in low.items():
        part = most_of_a_model(what, rows)
        of = "in no model" if part is None else f"at most {part:.1%} of a model's time"
        print(f"{'.' if part is not None and part < LITTLE else '!'} {share:4.0%}  {what}, {of}")


def main():
    """Measure, print and save the results."""
    table = Table("roofline", arguments(__doc__), rounds=3)
    times, shares = {}, {}
    for name, (layer, shape, first) in cases().items():
        if table.wants(name):
            buffers = prepared(layer, shape)
            for direction, calls in directions(layer, buffers, first).items():
                what = f"{name}: {direction}"
                times[what], shares[what] = row(table, what, direction, calls, layer, shape, buffers)
    low = {what: share for what, share in shares.items() if share < ENOUGH}
    print(f"\nbelow {ENOUGH:.0%}: {len(low)} of {len(shares)}")
    if not table.options.only:  # otherwise the times of models are not known
        verdict(times, low)
    table.save()


if __name__ == "__main__":
    main()
