"""Compare every layer of every model with the limits of one core: its arithmetic, and its memory or cache.

    python benchmarks/roofline.py [--only TEXT]

A kernel cannot be faster than its arithmetic at the peak of fused multiply-adds, nor faster than its arrays can be read
and written (Williams et al. 2009). For the arithmetic, each operation on sixteen samples counts as one fused
multiply-add, and a division as measured; convolutions count by the direct algorithm, though Winograd's needs fewer. For
the memory, a plain copy is measured, of as many bytes or that writes as many, in the cache or memory that holds them.
The share of a kernel is the longer of these two times divided by its own time; each round measures all of them.

A row is a direction of a layer: forward, the gradients of its parameters (dW), or that of its data (dx), which layers
up to the first one with parameters do not compute. The limits of all its kernels are added; if there are several, the
lines below the row show each. Rows below 60 % are marked, and printed again at the end: with "!", or with "." if the
row takes less than 1 % of the time of every model that has the layer. Examples are the ten outputs of a last layer, or
features of images of one pixel: they take a microsecond or less, mostly for the call and the ends of loops.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import Field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from limits import PRODUCTS, kind, limits
from rounds import Table, arguments

from distcnn.bench.measure import repeated_seconds
from distcnn.bench.tiles import buffers_of
from distcnn.layers import (
    GELU,
    Add,
    Concatenate,
    Conv2D,
    Dropout,
    GaussianPool2D,
    MaxPool2D,
    MeanPool2D,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
    TrainablePool2D,
)
from distcnn.models import MODELS
from distcnn.network.shapes import infer_shapes

if TYPE_CHECKING:
    from distcnn.layers.base import Layer, LayerBuffers
    from distcnn.layers.declarations import Call, Shape
    from distcnn.models import Model

ENOUGH = 0.6  # of the limit: rows below are marked
LITTLE = 0.01  # of the time of a model: rows below matter little
FURTHER = [  # layers that no model has, at similar sizes: (layer, shape of its input)
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

POSITIONAL = "out_features", "out_channels", "kernel_size", "sigma", "p", "name"  # shown without their names


def cases() -> dict[str, tuple[Layer, Shape, bool]]:
    """Return {title: (layer, shape of its input, whether no model needs its dx)} of all models and of FURTHER."""
    every = [each for model in MODELS.values() for each in measured(model)]
    found = {}
    for layer, shape, first in every + [(*each, False) for each in FURTHER]:
        name = title(layer, shape)
        _, _, before = found.get(name, (layer, shape, True))
        found[name] = layer, shape, first and before
    return found


def measured(model: Model) -> list[tuple[Layer, Shape, bool]]:
    """Return (layer, shape of its input, whether no layer before it has parameters) for the layers of a model.

    ReLUs are left out, because neighboring layers do the work of most of them.
    """
    layers = model.layers(model.input_shape, model.classes)
    shapes, _, _ = infer_shapes(layers, model.input_shape)
    found, first = [], True
    for layer, shape in zip(layers, shapes, strict=False):
        if not (layer.reads or layer.memory.y_is_x or isinstance(layer, ReLU)):
            found.append((layer, shape, first))
        first = first and not (layer.reads or layer.parameters(shape))
    return found


def prepared(layer: Layer, shape: Shape) -> LayerBuffers:
    """Return the buffers of a layer, after the calls that transform its weights for its kernels."""
    buffers = buffers_of(layer, shape)
    for kernel, given in layer.prepare(buffers):
        kernel(*given)
    return buffers


def directions(layer: Layer, buffers: LayerBuffers, first: bool) -> dict[str, list[Call]]:
    """Return {direction: calls} for the directions of a layer that have calls; first: leave out dx."""
    if layer.is_view(buffers.x.border) and np.shares_memory(buffers.x.array, buffers.y.array):
        return {}
    without_dx = replace(buffers, dx=None)
    weights = layer.backward(without_dx) if buffers.parameters else []
    kernels = [kernel for kernel, _ in weights]
    data = [] if first else [call for call in layer.backward(buffers) if call[0] not in kernels]
    found = {"forward": layer.forward(buffers), "dW": weights, "dx": data}
    return {name: calls for name, calls in found.items() if calls}


def title(layer: Layer, shape: Shape) -> str:
    """Return a layer as Python code, and the shape of its input."""
    named = {each.name: getattr(layer, each.name) for each in fields(layer) if is_shown(layer, each)}
    words = [f"{value}" if name in POSITIONAL else f"{name}={value}" for name, value in named.items()]
    return f"{type(layer).__name__}({', '.join(words)}) of {' x '.join(map(str, shape))}"


def is_shown(layer: Layer, each: Field) -> bool:
    """Return whether to show a field of a layer: not if it has its default value, or is a long table."""
    return each.repr and each.name != "connections" and getattr(layer, each.name) != each.default


def row(table: Table, what: str, name: str, calls: list[Call], *of: Any) -> tuple[float, float]:
    """Measure, save and print a row; return its seconds and its share.

    table: the table of results.
    what: the name of the row.
    name: the direction.
    calls: the calls of the direction.
    of: the layer, the shape of its input, and its buffers.
    """
    seconds, share, limit = measure(table, name, calls, *of)
    record = {"what": what, "unit": "s", "ours": seconds, "rounds": table.rounds, "peers": {}}
    table.rows.append(record | {"limit": limit, "of_limit": share})
    show(what, seconds, share, limit, "" if share >= ENOUGH else "  !")
    if len(calls) > 1 and not isinstance(of[0], PRODUCTS):
        for each in calls:
            show(f"    {kind(each[0])}", *measure(table, name, [each], *of))
    return seconds, share


def measure(table: Table, name: str, calls: list[Call], *of: Any) -> tuple[float, float, str]:
    """Return the seconds of the calls of a direction, the share of it that is the limit, and the name of the limit.

    Arguments as in `row`.
    """
    found = []
    for _ in range(table.rounds):
        seconds = repeated_seconds(calls)
        found.append((seconds, *(each / seconds for each in limits(name, calls, *of))))
    seconds, arithmetic, memory = map(float, np.median(found, axis=0))
    return seconds, arithmetic + memory, "arithmetic" if arithmetic > memory else "memory"


def show(what: str, seconds: float, share: float, limit: str, mark: str = "") -> None:
    """Print a line: the name, the microseconds, the share of the limit, and the name of the limit."""
    print(f"{what:70s} {1e6 * seconds:10.1f} us  {share:4.0%} of {limit}{mark}", flush=True)


def most_of_a_model(what: str, rows: dict[str, float]) -> float | None:
    """Return the largest fraction of a model's time that a row takes; None if no model has the row.

    what: the name of the row.
    rows: the seconds of all rows, by name.
    """
    parts = []
    for model in MODELS.values():
        counts = occurrences(model, rows)
        total = sum(count * rows[each] for each, count in counts.items())
        if what in counts:
            parts.append(counts[what] * rows[what] / total)
    return max(parts, default=None)


def occurrences(model: Model, rows: Iterable[str]) -> Counter:
    """Return how often each of the rows occurs in a model."""
    counts = Counter()
    for layer, shape, first in measured(model):
        of_layer = [each for each in rows if each.startswith(f"{title(layer, shape)}: ")]
        counts.update(each for each in of_layer if not (first and each.endswith(": dx")))
    return counts


def verdict(rows: dict[str, float], low: dict[str, float]) -> None:
    """Print the rows below ENOUGH again, with the fraction of a model's time that they take.

    rows: the seconds of all rows, by name.
    low: the shares of the rows below ENOUGH, by name.
    """
    for what, share in low.items():
        part = most_of_a_model(what, rows)
        of = "in no model" if part is None else f"at most {part:.1%} of a model's time"
        print(f"{'.' if part is not None and part < LITTLE else '!'} {share:4.0%}  {what}, {of}")


def main() -> None:
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
    if not table.options.only:  # with --only, the times of models are not known
        verdict(times, low)
    table.save()


if __name__ == "__main__":
    main()
