"""A plan for evaluation and prediction: the forward pass alone, in as much memory as a few neighbouring layers need.

What is at work in training only is left out, a norm is folded into the convolution before it, and an output takes the
memory of those that nobody needs any more. All this follows from the layers alone, and folding is made of operations
that round alike everywhere, so that the bits of an evaluation are the same on all ranks and machines, too.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from distcnn.kernels.activations import softmax_forward
from distcnn.lanes import LANES, aligned
from distcnn.layers import BatchNorm2D, Layer, ReLU
from distcnn.layers.base import NO_BORDER, BlockContext, Border, LayerBuffers, Scratch, Value, padded
from distcnn.network.plan import Forward, arrays


class Stage(NamedTuple):
    """A layer, its number, those of a norm folded into it (or None) and of the next stage, and whether a ReLU follows.

    Its input has shape shapes[number], its output shapes[end].
    """

    layer: Layer
    number: int
    norm: int | None
    relu: bool
    end: int


def stages(layers):
    """Return the stages of a chain of layers."""
    found, k = [], 0

    def follows(kind):
        return k < len(layers) and isinstance(layers[k], kind)

    while k < len(layers):
        layer, number, norm, relu = layers[k], k, None, False
        k += 1
        if layer.training_only:
            continue
        if layer.folds_norm and follows(BatchNorm2D):
            norm, k = k, k + 1
        if layer.applies_relu and follows(ReLU):
            relu, k = True, k + 1
        found.append(Stage(layer, number, norm, relu, k))
    return found


class Inference(Forward):
    """One block's way through a chain of layers, forward only; arguments as in Plan, the head and guard are for `loss`.

    values: the input and each stage's output; memory: bytes of all of them.
    """

    def __init__(self, layers, shapes, parameters, sums, head, guard):
        found = stages(layers)
        self.values, self.memory = _values(found, shapes)
        context = BlockContext(0)
        super().__init__(context, self.values[0], self.values[-1])
        saved = {stage.layer.saves_as: y for stage, y in zip(found, self.values[1:], strict=True)}
        prepare, forward, scratch = [], [], Scratch()
        for k, stage in enumerate(found):
            layer, x, y, own = stage.layer, self.values[k], self.values[k + 1], parameters[stage.number]
            if stage.norm is not None:
                folded = _folded(own["weight"])
                bias = own.get("bias", np.zeros(len(own["weight"]), np.float32))
                prepare += layers[stage.norm].fold(parameters[stage.norm], own["weight"], bias, folded)
                own = folded
            buffers = LayerBuffers(
                x, y, None, None, own, sums[stage.number], guard, stage.relu, scratch=scratch
            )
            buffers.saved, buffers.group_shared = (
                arrays(layer.saved(x.shape)),
                arrays(layer.group_shared(x.shape)),
            )
            buffers.number, buffers.context, buffers.skip = stage.number, context, saved.get(layer.reads)
            prepare += layer.prepare(buffers)
            if not _shared(x, y):
                forward += layer.forward(buffers)
        self._set_calls(prepare, forward)
        if len(shapes[-1]) == 1:
            unused = aligned(self.y.array.shape)  # the loss's gradient
            self._set_loss(layers[-1].rejection_logit, unused, head, guard)

    @cached_property
    def _probabilities(self):
        return Value(self.y.shape)

    def softmax(self):
        """Return the Value of y's softmax, computed anew."""
        softmax_forward(self.y.channels, self._probabilities.channels)
        return self._probabilities


def _folded(weight):
    return {"weight": aligned(weight.shape), "bias": aligned(weight.shape[:1])}


def _shared(x, y):
    """Tell whether there is nothing to do, for y is a view of x."""
    return x is y or np.shares_memory(x.array, y.array)


# ---- which values share memory ----


@dataclass
class Group:
    """Values that are one array: a first one, what works upon it in place, and its views."""

    border: Border = NO_BORDER
    until: int = 0  # the last stage that reads it
    place: "Place | None" = None


@dataclass
class Place:
    """Memory for one group after the other; `plane`: rows, columns and border of all of them, if they have a border."""

    plane: tuple | None
    until: int = 0
    size: int = 0  # in numbers
    array: np.ndarray | None = None


def _values(found, shapes):
    """Return the Value of the input and of each stage's output, and how many bytes they take.

    Groups with a border share memory only with such as have their zeros in the same places.
    """
    shapes = [shapes[0], *(shapes[stage.end] for stage in found)]
    groups, places, values = _groups(found, shapes), [], []
    for k, (shape, group) in enumerate(zip(shapes, groups, strict=True)):
        if group.place is None:
            group.place = _place(places, shape, group, k - 1)
    for place in places:
        place.array = aligned((place.size,))
    for shape, group in zip(shapes, groups, strict=True):
        same = values and group.place is values[-1][0] and shape == values[-1][1].shape
        value = values[-1][1] if same else Value(shape, group.border, group.place.array)
        values.append((group.place, value))
    return [value for _, value in values], sum(place.array.nbytes for place in places)


def _groups(found, shapes):
    """Return the group of each value."""
    groups, saved = [], {}
    for k, shape in enumerate(shapes):
        maker, reader = (found[i].layer if 0 <= i < len(found) else None for i in (k - 1, k))
        joins = maker is not None and (maker.in_place or maker.is_view(groups[-1].border))
        groups.append(groups[-1] if joins else Group())
        groups[-1].border = groups[-1].border.union(reader.border(shape) if reader else NO_BORDER)
        groups[-1].until = k
        if maker is not None and maker.saves_as:
            saved[maker.saves_as] = groups[-1]
        if reader is not None and reader.reads:
            saved[reader.reads].until = max(saved[reader.reads].until, k)
    return groups


def _place(places, shape, group, stage):
    """Return the place that fits best among those that nobody reads any more when this stage writes, or a new one."""
    whole = padded(shape, group.border)
    plane, size = (whole[1:], group.border) if any(group.border) else None, math.prod(whole) * LANES
    free = [place for place in places if place.plane == plane and place.until < stage]
    large = [place for place in free if place.size >= size]
    if not free:
        places.append(Place(plane))
        free = places[-1:]
    place = min(large, key=lambda each: each.size) if large else max(free, key=lambda each: each.size)
    place.size, place.until = max(place.size, size), group.until
    return place
