"""Planning, second part: which values and gradients of a list of nodes share memory, and the memory itself.

Value k is x of node k, and y of node k - 1; so value 0 is the input, and the last one is what the net gives. Gradients
are counted likewise. Each pass returns a list of slots, one for each value or gradient.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from distcnn.lanes import LANES, aligned
from distcnn.layers.declarations import Shape
from distcnn.layers.values import NO_BORDER, Border, Value, padded
from distcnn.network.passes import Node


@dataclass(frozen=True)
class Slot:
    """Where a value or a gradient lies.

    shape: of the value, without samples.
    border: the zeros around it.
    value: the number of the array; slots with the same number are one array.
    place: the number of the memory; arrays with the same number lie in the same memory.
    """

    shape: Shape
    border: Border
    value: int
    place: int


def value_slots(nodes: Sequence[Node], shape: Shape) -> list[Slot]:
    """Return the slots of the values, each array in a place of its own; shape: of the input."""
    shapes = [shape, *(node.out_shape for node in nodes)]
    borders = [*(node.layer.border(node.shape) for node in nodes), NO_BORDER]
    same = [node.forward_fused or node.layer.memory.y_is_x for node in nodes]
    return _slots(shapes, borders, same)


def gradient_slots(nodes: Sequence[Node], shape: Shape) -> list[Slot]:
    """Return the slots of the gradients, each array in a place of its own; shape: of the input."""
    shapes = [shape, *(node.out_shape for node in nodes)]
    borders = [NO_BORDER, *(node.layer.gradient_border(node.shape) for node in nodes)]
    same = [node.backward_fused or node.layer.memory.dx_is_dy for node in nodes]
    return _slots(shapes, borders, same)


def _slots(shapes: Sequence[Shape], borders: Sequence[Border], same: Sequence[bool]) -> list[Slot]:
    """Return slots, of which k + 1 is the same array as k if same[k], with the union of their borders."""
    numbers = [0]
    for k, is_same in enumerate(same, 1):
        numbers.append(numbers[-1] if is_same else k)
    unions: dict[int, Border] = {}
    for number, border in zip(numbers, borders, strict=True):
        unions[number] = unions.get(number, NO_BORDER).union(border)
    return [
        Slot(shape, unions[number], number, number) for shape, number in zip(shapes, numbers, strict=True)
    ]


def gradients_over_values(nodes: Sequence[Node], gradients: Sequence[Slot]) -> dict[int, int]:
    """Return {gradient: value} for gradients that may lie in the memory of a value.

    The layer that computes the gradient must allow that, and the layer that computed the value must not read it in
    the backward pass.
    """
    found = {}
    for k, node in enumerate(nodes):
        if k == 0 or node.layer.memory.dx_is_dy or not node.layer.gradient_over_input(node.shape):
            continue
        i = k - 1 if nodes[k - 1].forward_fused and nodes[k - 1].backward_fused else k
        if gradients[i].value == i and not nodes[i - 1].layer.memory.reads_y:
            found[i] = k
    return found


def put_gradients_over_values(
    nodes: Sequence[Node], values: list[Slot], gradients: list[Slot]
) -> tuple[list[Slot], list[Slot]]:
    """Return the slots of values and gradients with gradients in the places of values where that is possible.

    Gradients of places of their own are counted behind the values. An array that serves as both has both borders.
    """
    over = gradients_over_values(nodes, gradients)
    borders = {values[k].value: values[k].border.union(gradients[i].border) for i, k in over.items()}
    values = [replace(slot, border=borders.get(slot.value, slot.border)) for slot in values]
    found = []
    for slot in gradients:
        if slot.value in over:
            target = values[over[slot.value]]
            found.append(replace(slot, border=target.border, value=target.value, place=target.place))
        else:
            number = slot.value + len(values)
            found.append(replace(slot, value=number, place=number))
    return values, found


def share_views(nodes: Sequence[Node], slots: list[Slot], fixed: frozenset[int] = frozenset()) -> list[Slot]:
    """Return the slots, with an array in the place of the one before it where a layer makes it a view of that.

    fixed: numbers of arrays that stay in their places.
    """
    found = slots[:1]
    for node, slot in zip(nodes, slots[1:], strict=True):
        before = found[-1]
        is_view = slot.value not in fixed and not any(slot.border) and node.layer.is_view(before.border)
        if slot.value == before.value or is_view:
            slot = replace(slot, place=before.place)
        found.append(slot)
    return found


def training_slots(nodes: Sequence[Node], shape: Shape) -> tuple[list[Slot], list[Slot]]:
    """Return the slots of the values and of the gradients of a plan for training; shape: of the input."""
    values, gradients = value_slots(nodes, shape), gradient_slots(nodes, shape)
    values, gradients = put_gradients_over_values(nodes, values, gradients)
    fixed = frozenset(slot.value for slot in values)
    return share_views(nodes, values), share_views(nodes, gradients, fixed)


def inference_slots(nodes: Sequence[Node], shape: Shape) -> list[Slot]:
    """Return the slots of the values of a plan for inference; shape: of the input."""
    return reuse_places(nodes, share_views(nodes, value_slots(nodes, shape)))


# ---- memory for one value after the other ----


@dataclass
class _Place:
    """Memory that serves one array after the other.

    plane: rows and columns, and the border, that all of them have; None if they have no border.
    last_read: the number of the last value in it that is read.
    size: in numbers.
    """

    plane: tuple | None
    last_read: int = 0
    size: int = 0


def reuse_places(nodes: Sequence[Node], slots: list[Slot]) -> list[Slot]:
    """Return the slots of values with places that serve again when nobody reads their last value any more.

    Arrays with a border share a place only with such as have their zeros at the same pixels.
    """
    last_reads = _last_reads(nodes, slots)
    places: list[_Place] = []
    chosen: dict[int, int] = {}
    for k, slot in enumerate(slots):
        if slot.place not in chosen:
            chosen[slot.place] = _best_place(places, slot, k)
            places[chosen[slot.place]].last_read = last_reads[slot.place]
    return [replace(slot, place=chosen[slot.place]) for slot in slots]


def _last_reads(nodes: Sequence[Node], slots: Sequence[Slot]) -> dict[int, int]:
    """Return for each place the number of the last node that reads a value in it."""
    found, saved = {}, {}
    for k, slot in enumerate(slots):
        found[slot.place] = max(found.get(slot.place, 0), k)
        if k and nodes[k - 1].layer.saves_as:
            saved[nodes[k - 1].layer.saves_as] = slot.place
        if k < len(nodes) and nodes[k].layer.reads:
            place = saved[nodes[k].layer.reads]
            found[place] = max(found[place], k)
    return found


def _best_place(places: list[_Place], slot: Slot, k: int) -> int:
    """Return the number of the free place that fits value k best, grown if it is too small, or of a new one."""
    whole = padded(slot.shape, slot.border)
    plane = (whole[1:], slot.border) if any(slot.border) else None
    size = math.prod(whole) * LANES
    free = [n for n, place in enumerate(places) if place.plane == plane and place.last_read < k - 1]
    if not free:
        places.append(_Place(plane))
        free = [len(places) - 1]
    large = [n for n in free if places[n].size >= size]
    best = min(large, key=lambda n: places[n].size) if large else max(free, key=lambda n: places[n].size)
    places[best].size = max(places[best].size, size)
    return best


# ---- memory ----


def sizes(slots: Sequence[Slot]) -> dict[int, int]:
    """Return how many float32 numbers each place holds."""
    found: dict[int, int] = {}
    for slot in slots:
        size = math.prod(padded(slot.shape, slot.border)) * LANES
        found[slot.place] = max(found.get(slot.place, 0), size)
    return found


def allocate(slots: Sequence[Slot]) -> list[Value]:
    """Return a Value for each slot."""
    memory = {place: aligned((size,)) for place, size in sizes(slots).items()}
    values: dict[int, Value] = {}
    for slot in slots:
        if slot.value not in values:
            values[slot.value] = Value(slot.shape, slot.border, memory[slot.place])
    return [values[slot.value] for slot in slots]
