"""Compare the time of layers with PyTorch's, on one core with 64 samples.

    python benchmarks/layers.py [--only TEXT]

Each direction of layers with weights is a row; other layers have one row for both passes. Our layers compute on lanes,
PyTorch's on the faster of its layouts; no conversion of layouts is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import peers
from rounds import Table, arguments

from distcnn.bench.tiles import CONVOLUTIONS, DENSE, buffers_of
from distcnn.lanes import LANES
from distcnn.layers import Dense, MaxPool2D, MeanPool2D, Tanh

if TYPE_CHECKING:
    from distcnn.layers.base import Layer, LayerBuffers
    from distcnn.layers.declarations import Call, Shape

BLOCKS = 4
DENSE_LAYERS = {
    name: (Dense(outputs, bias=False), (features,)) for name, (features, outputs) in DENSE.items()
}
OTHERS = {
    "max pool 2 of 6 x 28 x 28": (MaxPool2D(2), (6, 28, 28)),
    "max pool 2 of 32 x 32 x 32": (MaxPool2D(2), (32, 32, 32)),
    "mean pool 2 of 32 x 32 x 32": (MeanPool2D(2), (32, 32, 32)),
    "tanh of 6 x 28 x 28": (Tanh(), (6, 28, 28)),
}


def repeated(calls: list[Call]) -> Callable[[], None]:
    """Return a function that makes the calls for every block."""
    compiled = [(kernel.compiled, given) for kernel, given in calls]

    def run():
        for _ in range(BLOCKS):
            for kernel, given in compiled:
                kernel(*given)

    return run


def prepared(layer: Layer, shape: Shape) -> LayerBuffers:
    """Return the buffers of a layer, after the calls that transform its weights for its kernels."""
    buffers = buffers_of(layer, shape)
    for kernel, given in layer.prepare(buffers):
        kernel(*given)
    return buffers


def directions(table: Table, name: str, layer: Layer, shape: Shape) -> None:
    """Measure the forward pass, dx and dW of a layer with weights; table: the table to which rows are added."""
    theirs = peers.directions(layer, shape, BLOCKS * LANES)
    buffers = prepared(layer, shape)
    if isinstance(layer, Dense):
        weights, *data = layer.backward(buffers)
        ours = {"forward": layer.forward(buffers), "dx": data, "dW": [weights]}
    else:
        ours = {"forward": layer.forward(buffers), "dx": layer.backward_data(buffers)}
        ours["dW"] = layer.backward_weights(buffers)
    for direction, calls in ours.items():
        what = f"{name} {direction}"
        is_first = shape[0] <= 3  # the first layer of a net has no dx
        if table.wants(what) and not (direction == "dx" and is_first):
            flops = BLOCKS * LANES * layer.flops(shape)
            table.compare(what, repeated(calls), theirs[direction], flops)


def main() -> None:
    """Measure, print and save the results."""
    table = Table("layers", arguments(__doc__))
    for name, (layer, shape) in CONVOLUTIONS.items():
        directions(table, f"{name} direct", layer.using("direct"), shape)
        if layer.prepare(buffers_of(layer, shape)):
            directions(table, f"{name} Winograd", layer, shape)
    for name, (layer, shape) in DENSE_LAYERS.items():
        directions(table, name, layer, shape)
    for name, (layer, shape) in OTHERS.items():
        if table.wants(name):
            buffers = prepared(layer, shape)
            ours = repeated(layer.forward(buffers) + layer.backward(buffers))
            table.compare(name, ours, peers.layers(layer, shape, BLOCKS * LANES))
    table.save()


if __name__ == "__main__":
    main()
