"""Layers one behind the other: the shapes between them, and what each of them declares."""

import math
import operator

from distcnn.errors import NetError
from distcnn.layers import Layer


def infer_shapes(layers, input_shape):
    """Return the shapes between layers, input first, each layer's parameters and its statistics.

    Raises NetError, naming the layer, for layers that do not fit together.
    """
    shapes, parameter_specs, statistic_specs, saved = [_checked(input_shape)], [], [], {}
    for k, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            raise NetError(f"layer {k} is {layer!r}; wanted an object from distcnn.layers, as Conv2D(6, 5)")
        try:
            shapes.append(layer.output_shape(shapes[-1], *_taken(layer, saved)))
        except NetError as error:
            raise NetError(f"layer {k}: {error}") from None
        parameter_specs.append(layer.parameters(shapes[-2]))
        statistic_specs.append(layer.statistics(shapes[-2]))
        if layer.saves_as:
            saved[layer.saves_as] = shapes[-1]
    return shapes, parameter_specs, statistic_specs


def parameter_counts(parameter_specs, statistic_specs):
    """Return how many parameters and statistics each layer has."""
    pairs = zip(parameter_specs, statistic_specs, strict=True)
    return [sum(math.prod(each.shape) for each in (*own.values(), *saved.values())) for own, saved in pairs]


def _taken(layer, saved):
    """Return the shapes, of those kept so far by name, that the layer takes: one, or none."""
    if layer.saves_as in saved:
        raise NetError(f"{layer}: an output is kept under this name already")
    if layer.reads is not None and layer.reads not in saved:
        raise NetError(
            f"{layer}: no output is kept under this name before it; put a Keep({layer.reads!r}) there"
        )
    return [] if layer.reads is None else [saved[layer.reads]]


def _checked(input_shape):
    """Return (c, h, w) as whole numbers, or raise NetError."""
    try:
        shape = tuple(operator.index(n) for n in input_shape)
    except TypeError:
        shape = ()
    if len(shape) != 3 or min(shape) < 1:
        raise NetError(f"input_shape is {input_shape!r}; wanted (c, h, w), three whole numbers from 1 on")
    return shape
