"""Planning, second part: decide which values and gradients share memory, and allocate that memory.

Value k is the input x of node k and the output y of node k - 1; so value 0 is the input of the net, and the last value
is its output. Gradients are numbered likewise. Each pass takes and returns a list of slots, one per value or gradient.
Two slots can be the same array, if a layer works in place; and two arrays can share a region of memory, if one is a
view of the other, or if they are needed at different times.
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

    shape: the shape of the value, without samples.
    border: the zeros around the value.
    array: the number of its array; slots with the same number are the same array.
    region: the number of its region of memory; arrays with the same number lie in the same region.
    """

    shape: Shape
    border: Border
    array: int
    region: int


def value_slots(nodes: Sequence[Node], shape: Shape) -> list[Slot]:
    """Return the slots of the values, where each array has its own region; shape: the shape of the input."""
    shapes = [shape, *(node.out_shape for node in nodes)]
    borders = [*(node.layer.border(node.shape) for node in nodes), NO_BORDER]
    same = [node.forward_fused or node.layer.memory.y_is_x for node in nodes]
    return _slots(shapes, borders, same)


def gradient_slots(nodes: Sequence[Node], shape: Shape) -> list[Slot]:
    """Return the slots of the gradients, where each array has its own region; shape: the shape of the input."""
    shapes = [shape, *(node.out_shape for node in nodes)]
    borders = [NO_BORDER, *(node.layer.gradient_border(node.shape) for node in nodes)]
    same = [node.backward_fused or node.layer.memory.dx_is_dy for node in nodes]
    return _slots(shapes, borders, same)


def _slots(shapes: Sequence[Shape], borders: Sequence[Border], same: Sequence[bool]) -> list[Slot]:
    """Return slots for the shapes; slot k + 1 is the same array as slot k if same[k], with the union of the borders."""
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
    """Return {index of a gradient: index of a value} for each gradient that can be written over a value.

    This needs two things: the layer that computes the gradient allows it, and the layer that computed the value does
    not read the value in its backward pass.
    """
    found = {}
    for k, node in enumerate(nodes):
        if k == 0 or node.layer.memory.dx_is_dy or not node.layer.gradient_over_input(node.shape):
            continue
        i = k - 1 if nodes[k - 1].forward_fused and nodes[k - 1].backward_fused else k
        if gradients[i].array == i and not nodes[i - 1].layer.memory.reads_y:
            found[i] = k
    return found


def put_gradients_over_values(
    nodes: Sequence[Node], values: list[Slot], gradients: list[Slot]
) -> tuple[list[Slot], list[Slot]]:
    """Let gradients be the same arrays as values where possible; return the slots of the values and the gradients.

    An array that holds a value and a gradient has the union of their borders. The other gradients get array numbers
    above those of the values.
    """
    over = gradients_over_values(nodes, gradients)
    borders = {values[k].array: values[k].border.union(gradients[i].border) for i, k in over.items()}
    values = [replace(slot, border=borders.get(slot.array, slot.border)) for slot in values]
    found = []
    for slot in gradients:
        if slot.array in over:
            target = values[over[slot.array]]
            found.append(replace(slot, border=target.border, array=target.array, region=target.region))
        else:
            number = slot.array + len(values)
            found.append(replace(slot, array=number, region=number))
    return values, found


def share_views(nodes: Sequence[Node], slots: list[Slot], fixed: frozenset[int] = frozenset()) -> list[Slot]:
    """Put each array that a layer makes as a view of the previous array into the region of that; return the slots.

    nodes: the nodes of the plan.
    slots: the slots of the values or of the gradients.
    fixed: the numbers of arrays that must stay in their regions.
    """
    found = slots[:1]
    for node, slot in zip(nodes, slots[1:], strict=True):
        before = found[-1]
        can_be_view = slot.array not in fixed and not any(slot.border) and node.layer.is_view(before.border)
        if slot.array == before.array or can_be_view:
            slot = replace(slot, region=before.region)
        found.append(slot)
    return found


def is_view(slots: Sequence[Slot], k: int) -> bool:
    """Return whether array k + 1 is a view of array k, so that node k has nothing to compute."""
    return slots[k].array != slots[k + 1].array and slots[k].region == slots[k + 1].region


def training_slots(nodes: Sequence[Node], shape: Shape) -> tuple[list[Slot], list[Slot]]:
    """Return the slots of the values and the gradients of a plan for training; shape: the shape of the input."""
    values, gradients = value_slots(nodes, shape), gradient_slots(nodes, shape)
    values, gradients = put_gradients_over_values(nodes, values, gradients)
    fixed = frozenset(slot.array for slot in values)
    return share_views(nodes, values), share_views(nodes, gradients, fixed)


def inference_slots(nodes: Sequence[Node], shape: Shape) -> list[Slot]:
    """Return the slots of the values of a plan for inference; shape: the shape of the input."""
    return reuse_regions(nodes, share_views(nodes, value_slots(nodes, shape)))


# ---- inference: use a region again when no later layer reads its array ----


@dataclass
class _Region:
    """A region of memory that holds one array after the other.

    plane: the rows, columns and border that all arrays of the region have; None if they have no border.
    last_read: the number of the last node that reads the current array.
    size: how many float32 numbers the region holds.
    """

    plane: tuple | None
    last_read: int = 0
    size: int = 0


def reuse_regions(nodes: Sequence[Node], slots: list[Slot]) -> list[Slot]:
    """Put each array into a region whose previous array no node reads any more, if there is one; return the slots.

    Arrays with a border share a region only if their zeros lie at the same pixels, as zeros are written only once.
    """
    last_reads = _last_reads(nodes, slots)
    regions: list[_Region] = []
    chosen: dict[int, int] = {}
    for k, slot in enumerate(slots):
        if slot.region not in chosen:
            chosen[slot.region] = _best_region(regions, slot, k)
            regions[chosen[slot.region]].last_read = last_reads[slot.region]
    return [replace(slot, region=chosen[slot.region]) for slot in slots]


def _last_reads(nodes: Sequence[Node], slots: Sequence[Slot]) -> dict[int, int]:
    """Return for each region the number of the last node that reads a value in it."""
    found, saved = {}, {}
    for k, slot in enumerate(slots):
        found[slot.region] = max(found.get(slot.region, 0), k)
        if k and nodes[k - 1].layer.saves_as:
            saved[nodes[k - 1].layer.saves_as] = slot.region
        if k < len(nodes) and nodes[k].layer.reads:
            region = saved[nodes[k].layer.reads]
            found[region] = max(found[region], k)
    return found


def _best_region(regions: list[_Region], slot: Slot, k: int) -> int:
    """Return the number of the free region that fits value k best; enlarge it if it is too small.

    If no region is free, a new one is added to the list.
    """
    whole = padded(slot.shape, slot.border)
    plane = (whole[1:], slot.border) if any(slot.border) else None
    size = math.prod(whole) * LANES
    free = [n for n, region in enumerate(regions) if region.plane == plane and region.last_read < k - 1]
    if not free:
        regions.append(_Region(plane))
        free = [len(regions) - 1]
    large = [n for n in free if regions[n].size >= size]
    best = min(large, key=lambda n: regions[n].size) if large else max(free, key=lambda n: regions[n].size)
    regions[best].size = max(regions[best].size, size)
    return best


# ---- allocation ----


def sizes(slots: Sequence[Slot]) -> dict[int, int]:
    """Return how many float32 numbers each region holds."""
    found: dict[int, int] = {}
    for slot in slots:
        size = math.prod(padded(slot.shape, slot.border)) * LANES
        found[slot.region] = max(found.get(slot.region, 0), size)
    return found


def allocate(slots: Sequence[Slot]) -> list[Value]:
    """Allocate the memory of all regions, and return a Value for each slot."""
    memory = {region: aligned((size,)) for region, size in sizes(slots).items()}
    values: dict[int, Value] = {}
    for slot in slots:
        if slot.array not in values:
            values[slot.array] = Value(slot.shape, slot.border, memory[slot.region])
    return [values[slot.array] for slot in slots]
