"""Shape inference: compute the shapes between layers, and collect the parameters that each layer declares."""

import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any

from distcnn.errors import NetError
from distcnn.layers import Layer
from distcnn.layers.declarations import Parameter, Shape

Specs = list[dict[str, Parameter]]  # for each layer, its parameters or statistics by name


def as_list(layers: Iterable[Layer]) -> list[Layer]:
    """Return layers as a list; raise NetError if the argument is not iterable."""
    try:
        return list(layers)
    except TypeError:
        raise NetError(f"layers is {layers!r}; wanted a list of objects from distcnn.layers") from None


def infer_shapes(layers: Sequence[Layer], input_shape: Sequence[int]) -> tuple[list[Shape], Specs, Specs]:
    """Return the shapes between layers, and the parameters and running statistics that each layer declares.

    The first shape is that of the input. Raises NetError, which names the layer, if layers do not fit together.

    layers: the layers of the net.
    input_shape: (c, h, w) of an image.
    """
    shapes, parameter_specs, statistic_specs, saved = [_checked(input_shape)], [], [], {}
    for k, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            raise NetError(f"layer {k} is {layer!r}; wanted an object from distcnn.layers, as Conv2D(6, 5)")
        try:
            shapes.append(layer.output_shape(shapes[-1], *_read_shapes(layer, saved)))
        except NetError as error:
            raise NetError(f"layer {k}: {error}") from None
        parameter_specs.append(layer.parameters(shapes[-2]))
        statistic_specs.append(layer.statistics(shapes[-2]))
        if layer.saves_as:
            saved[layer.saves_as] = shapes[-1]
    return shapes, parameter_specs, statistic_specs


def parameter_counts(parameter_specs: Specs, statistic_specs: Specs) -> list[int]:
    """Return how many numbers the parameters and statistics of each layer hold."""
    pairs = zip(parameter_specs, statistic_specs, strict=True)
    return [
        sum(math.prod(each.shape) for each in (*parameters.values(), *statistics.values()))
        for parameters, statistics in pairs
    ]


def _read_shapes(layer: Layer, saved: dict[str, Shape]) -> list[Shape]:
    """Return the shape of the saved output that a layer reads, in a list; an empty list if it reads none.

    saved: the shapes of the outputs saved so far, by name.
    """
    if layer.saves_as in saved:
        raise NetError(f"{layer}: an output is saved under this name already")
    if layer.reads is not None and layer.reads not in saved:
        remedy = f"put a SaveAs({layer.reads!r}) there"
        raise NetError(f"{layer}: no output is saved under this name before it; {remedy}")
    return [] if layer.reads is None else [saved[layer.reads]]


def _checked(input_shape: Any) -> Shape:
    """Return (c, h, w) as whole numbers; raise NetError for anything else."""
    try:
        shape = tuple(operator.index(n) for n in input_shape)
    except TypeError:
        shape = ()
    if len(shape) != 3 or min(shape) < 1:
        raise NetError(f"input_shape is {input_shape!r}; wanted (c, h, w), three whole numbers from 1 on")
    return shape
