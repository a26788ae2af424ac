"""Layers one behind the other: the shapes between them, and what each of them declares."""

import math
import operator

from distcnn.errors import NetError
from distcnn.layers import Layer


def chain(layers, input_shape):
    """Return the shapes between layers, input first, each layer's parameters and its statistics.

    Raises NetError, naming the layer, for layers that do not fit together.
    """
    shapes, declared, followed, kept = [_checked(input_shape)], [], [], {}
    for k, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            raise NetError(f"layer {k} is {layer!r}; wanted an object from distcnn.layers, as Conv2D(6, 5)")
        try:
            shapes.append(layer.output_shape(shapes[-1], *_taken(layer, kept)))
        except NetError as error:
            raise NetError(f"layer {k}: {error}") from None
        declared.append(layer.parameters(shapes[-2]))
        followed.append(layer.statistics(shapes[-2]))
        if layer.keeps:
            kept[layer.keeps] = shapes[-1]
    return shapes, declared, followed


def numbers(declared, followed):
    """Return how many parameters and statistics each layer has."""
    pairs = zip(declared, followed, strict=True)
    return [sum(math.prod(each.shape) for each in (*own.values(), *kept.values())) for own, kept in pairs]


def _taken(layer, kept):
    """Return the shapes, of those kept so far by name, that the layer takes: one, or none."""
    if layer.keeps in kept:
        raise NetError(f"{layer}: an output is kept under this name already")
    if layer.takes is not None and layer.takes not in kept:
        raise NetError(
            f"{layer}: no output is kept under this name before it; put a Keep({layer.takes!r}) there"
        )
    return [] if layer.takes is None else [kept[layer.takes]]


def _checked(input_shape):
    """Return (c, h, w) as whole numbers, or raise NetError."""
    try:
        shape = tuple(operator.index(n) for n in input_shape)
    except TypeError:
        shape = ()
    if len(shape) != 3 or min(shape) < 1:
        raise NetError(f"input_shape is {input_shape!r}; wanted (c, h, w), three whole numbers from 1 on")
    return shape
