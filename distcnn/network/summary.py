"""A table of a network: for each layer its output, its parameters, its work and its memory."""

from __future__ import annotations

from collections.abc import Sequence

from distcnn.layers.base import Layer
from distcnn.layers.declarations import Shape
from distcnn.network import memory
from distcnn.network.shapes import as_list, infer_shapes, parameter_counts

HEAD = "layer", "output", "parameters", "FLOPs a sample", "memory"


def summary(layers: Sequence[Layer], input_shape: Shape) -> str:
    """Return the table of a network as text.

    FLOPs are those of a forward pass. Memory is what one thread needs to train: for parameters, running statistics, one
    optimizer slot and gradients, and for the outputs of a block of sixteen samples.

    layers: the layers.
    input_shape: (c, h, w) of an image.

    Raises NetError if the layers do not fit together.
    """
    layers = as_list(layers)
    shapes, parameter_specs, statistic_specs = infer_shapes(layers, input_shape)
    trained = parameter_counts(parameter_specs, [{} for _ in layers])
    counts = parameter_counts(parameter_specs, statistic_specs)
    flops = [layer.flops(shape) for layer, shape in zip(layers, shapes, strict=False)]
    needs = memory.of_training(layers, counts, shapes)
    rows: list[tuple[str, ...]] = [HEAD, ("input", _shape_text(shapes[0]), "", "", "")]
    for number, layer in enumerate(layers):
        figures = f"{trained[number]:,}", f"{flops[number]:,}", memory.size_text(needs[number])
        rows.append((f"{number:>3} {layer}", _shape_text(shapes[number + 1]), *figures))
    rows.append(("sum", "", f"{sum(trained):,}", f"{sum(flops):,}", memory.size_text(sum(needs))))
    return _table(rows)


def _shape_text(shape: Shape) -> str:
    return " x ".join(map(str, shape))


def _table(rows: list[tuple[str, ...]]) -> str:
    """Return rows as text in columns, the first two to the left, with lines under the head and above the sum."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = zip(row, widths, "<<>>>", strict=True)
        lines.append("  ".join(f"{cell:{side}{width}}" for cell, width, side in cells).rstrip())
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])
