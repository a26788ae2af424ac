"""How near every kernel of every model comes to what the machine can do: its arithmetic, or its memory, on one core.

    python benchmarks/roofline.py [--only TEXT]

A kernel can be no faster than its arithmetic at the peak of fused multiply-adds, nor than its arrays are read and
written (Williams et al. 2009). For the first, each operation on sixteen samples counts as the fused multiply-add in
whose place it stands, and a division as measured; convolutions count by the direct algorithm, below which Winograd's
falls. For the second, a plain copy is measured of as many bytes, or that writes as many, in the cache or memory in
which they lie. A kernel's share is the longer of the two times over its own; all are measured anew in each round. Rows
below 60 % are marked.
"""

from dataclasses import fields

import numpy as np
from rounds import Table, arguments

from distcnn.bench.measure import copy_seconds, division_seconds, fma_peak, repeated_seconds
from distcnn.bench.tiles import wiring_of
from distcnn.chain import chain
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
    Tanh,
    TrainablePool2D,
)
from distcnn.layers.base import Value
from distcnn.models import MODELS

ENOUGH = 0.6  # of what limits a kernel
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
EXACT_LANES, EXACT_SUM = (
    12,
    9,
)  # of adding sixteen features' sums, and one that is over lanes, of which a tree is three
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
PRODUCTS = "forward", "dx", "dW"  # of which each has the operations that `Layer.flops` tells


def cases():
    """Yield (layer, shape of its input) of all models, and of FURTHER, each once."""
    seen = {}
    for model in MODELS.values():
        layers = model.layers(model.input_shape, model.classes)
        shapes, _, _ = chain(layers, model.input_shape)
        for layer, shape in zip(layers, shapes, strict=False):
            if not (layer.takes or layer.in_place or isinstance(layer, ReLU)):
                seen.setdefault(title(layer, shape), (layer, shape))
    return [*seen.values(), *FURTHER]


def wired(layer, shape):
    """Return a layer's wiring, with its weights in the form that its kernels want."""
    if layer.takes:
        layer_alone = layer.output_shape
        object.__setattr__(layer, "output_shape", lambda given: layer_alone(given, shape))
    wiring = wiring_of(layer, shape)
    if layer.takes:
        wiring.other, wiring.dother = Value(shape), Value(shape)
    for kernel, given in layer.prepare(wiring):
        kernel(*given)
    return wiring


def parts(layer, wiring):
    """Yield (name, calls) for each of a layer's directions."""
    if layer.is_view(wiring.x.border) and np.shares_memory(wiring.x.array, wiring.y.array):
        return
    if isinstance(layer, Conv2D):
        yield "forward", layer.forward(wiring)
        if wiring.x.shape[0] > 3:  # the first layer of a net has no dx
            yield "dx", layer.backward_data(wiring)
        yield "dW", layer.backward_weights(wiring)
        return
    for kernel, given in layer.forward(wiring) + layer.backward(wiring):
        yield kind(kernel), [(kernel, given)]


def kind(kernel):
    """Return a kernel's name without its constants, and that of a product's direction alone."""
    name = kernel.name.rstrip("_0123456789")
    ends = {
        "_backward_data": "dx",
        "_backward_data_far": "dx",
        "_backward_weights": "dW",
        "_backward_few_weights": "dW",
        "_forward": "forward",
    }
    for end, direction in ends.items():
        if name.endswith(end) and name.split("_")[0] in ("convolution", "dense", "local"):
            return direction
    return name


def bytes_of(calls, wiring):
    """Return the bytes that calls read and write at the least: of each array once, of exact sums twice."""
    values = [
        each for each in (wiring.x, wiring.y, wiring.dx, wiring.dy, wiring.other, wiring.dother) if each
    ]
    known = [each.inside for each in values] + [*wiring.parameters.values(), *wiring.kept.values()]
    sums = [*wiring.sums.values()]
    given = [each for _, all_given in calls for each in all_given if isinstance(each, np.ndarray)]
    met = [a for a in known + sums * 2 if any(np.may_share_memory(a, b) for b in given)]
    return sum(part(a, given) for a in met)


def written_by(name, wiring):
    """Return the bytes of activations, or of their gradient, that a direction writes."""
    if "forward" in name:
        return wiring.y.inside.nbytes
    return wiring.dx.inside.nbytes if "data" in name or name in ("dx", "global_mean_backward") else 0


def part(array, given):
    """Return the bytes of an array, or of those views of it that are given."""
    return min(array.nbytes, sum(each.nbytes for each in given if np.may_share_memory(array, each)))


def seconds_of_arithmetic(name, layer, shape, peak, division):
    """Return how long the operations take, each in the place of a fused multiply-add."""
    one = 2 * LANES / peak
    if name in PRODUCTS:
        exact = exact_operations(layer, shape) if name == "dW" else 0
        return layer.flops(shape) * LANES / peak + exact * one
    if name.endswith("bias_gradient"):
        return EXACT_SUM * np.prod(layer.parameters(shape)["bias"].shape) * one
    if name.startswith("radial"):
        return 2 * layer.centres.size * one
    if name in TAPS:
        return TAPS[name] * np.prod(layer.output_shape(shape)) * np.prod(layer.taps) * one
    operations, divisions = OPERATIONS.get(name, (0, 0))
    return np.prod(shape) * (operations * one + divisions * division)


def exact_operations(layer, shape):
    """Return how many operations the exact sums of a layer's weights take."""
    sums = np.prod(layer.parameters(shape)["weight"].shape)
    if isinstance(layer, Dense | LocallyConnected2D) or layer.output_shape(shape)[1:] == (1, 1):
        return EXACT_LANES * sums / LANES
    return EXACT_SUM * sums


def title(layer, shape):
    """Return a layer, as one types it, and the shape of its input."""
    named = {each.name: getattr(layer, each.name) for each in fields(layer) if given(layer, each)}
    words = [f"{value}" if name in FIRST else f"{name}={value}" for name, value in named.items()]
    return f"{type(layer).__name__}({', '.join(words)}) of {' x '.join(map(str, shape))}"


def given(layer, each):
    """Tell whether an argument is to be shown: it is none that has its default, and not a long table."""
    return each.repr and each.name != "connections" and getattr(layer, each.name) != each.default


def row(table, layer, shape, name, calls, wiring):
    """Measure, keep and print a row."""
    size = bytes_of(calls, wiring)
    written = written_by(name, wiring)
    found = []
    for _ in range(table.rounds):
        before, seconds = fma_peak(), repeated_seconds(calls)
        peak = max(before, fma_peak())
        arithmetic = seconds_of_arithmetic(name, layer, shape, peak, division_seconds())
        found.append((seconds, arithmetic / seconds, copy_seconds(max(size, 2 * written)) / seconds))
    seconds, arithmetic, memory = np.median(found, axis=0)
    limit, share = ("arithmetic", arithmetic) if arithmetic > memory else ("memory", memory)
    what = f"{title(layer, shape)}: {name}"
    table.rows.append(
        {
            "what": what,
            "unit": "s",
            "ours": float(seconds),
            "rounds": table.rounds,
            "peers": {},
            "limit": limit,
            "share": float(share),
        }
    )
    mark = "" if share >= ENOUGH else "  !"
    print(f"{what:70s} {1e6 * seconds:10.1f} us  {share:4.0%} of {limit}{mark}", flush=True)


def main():
    """Measure, print and keep."""
    table = Table("roofline", arguments(__doc__), rounds=3)
    for layer, shape in cases():
        if not table.wants(title(layer, shape)):
            continue
        wiring = wired(layer, shape)
        for name, calls in parts(layer, wiring):
            row(table, layer, shape, name, calls, wiring)
    table.save()


if __name__ == "__main__":
    main()
