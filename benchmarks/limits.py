"""The limits of a kernel's time that roofline.py compares with: its arithmetic, and its memory or cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from distcnn.bench.measure import copy_seconds, division_seconds, fma_peak
from distcnn.lanes import LANES
from distcnn.layers import Conv2D, Dense, LocallyConnected2D, TableConv2D

if TYPE_CHECKING:
    from distcnn.kernels.jit import Kernel
    from distcnn.layers.base import Layer, LayerBuffers
    from distcnn.layers.declarations import Call, Shape

EXP = 27  # operations of `exp`
PHILOX = 68  # operations of a quarter of `uniform`, which returns four Lanes of random numbers
EXACT_LANES = 12  # operations to add the exact sums of sixteen features, one in each lane
EXACT_SUM = 9  # operations to add one exact sum over lanes, with three for the sum over lanes itself
TRANSPOSE = 4  # operations to transpose a feature, so that lanes are features: 64 shuffles for sixteen
OPERATIONS = {  # (operations, divisions) for each number of the output
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
# Layers for which each direction has as many operations as `flops` returns:
PRODUCTS = Conv2D, TableConv2D, Dense, LocallyConnected2D


def kind(kernel: Kernel) -> str:
    """Return the name of a kernel without its compile-time constants."""
    return kernel.name.rstrip("_0123456789")


def bytes_of(calls: list[Call], buffers: LayerBuffers) -> int:
    """Return the bytes that calls must read and write: each array once, exact sums twice."""
    values = buffers.x, buffers.y, buffers.dx, buffers.dy, buffers.skip, buffers.dskip
    values = [value for value in values if value]
    known = [each.inside for each in values] + [*buffers.parameters.values(), *buffers.saved.values()]
    sums = [*buffers.sums.values()]
    given = [each for _, all_given in calls for each in all_given if isinstance(each, np.ndarray)]
    known_and_given = [a for a in known + sums * 2 if any(np.may_share_memory(a, b) for b in given)]
    return sum(bytes_given(a, given) for a in known_and_given)


def written_by(name: str, calls: list[Call], buffers: LayerBuffers) -> int:
    """Return the bytes of y or dx that the calls of the direction `name` write."""
    value = {"forward": buffers.y, "dx": buffers.dx}.get(name)
    given = [each for _, all_given in calls for each in all_given if isinstance(each, np.ndarray)]
    is_given = value and any(np.may_share_memory(value.array, each) for each in given)
    return value.inside.nbytes if is_given else 0


def bytes_given(array: np.ndarray, given: list[np.ndarray]) -> int:
    """Return the bytes of an array, or fewer if the arguments of calls, `given`, are smaller views of it."""
    return min(array.nbytes, sum(each.nbytes for each in given if np.may_share_memory(array, each)))


def limits(name: str, calls: list[Call], layer: Layer, shape: Shape, buffers: LayerBuffers) -> list[float]:
    """Return the seconds by which arithmetic and memory limit the calls of a direction.

    A kernel is limited by the longer of the two times; each result is the sum over the kernels that it limits. The
    kernels of a layer in PRODUCTS count as one.
    """
    peak, division = fma_peak(), division_seconds()
    if isinstance(layer, PRODUCTS):
        operations = layer.flops(shape) / 2 + (exact_operations(layer, shape) if name == "dW" else 0)
        found = [(operations * 2 * LANES / peak, copy_time(name, calls, buffers))]
    else:
        known = layer, shape, peak, division
        found = [(arithmetic_time(kind(each[0]), *known), copy_time(name, [each], buffers)) for each in calls]
    return [sum(times) for times in zip(*([a, 0] if a > m else [0, m] for a, m in found), strict=True)]


def copy_time(name: str, calls: list[Call], buffers: LayerBuffers) -> float:
    """Return the seconds of a copy of as many bytes as the calls of the direction `name` read and write."""
    return copy_seconds(max(bytes_of(calls, buffers), 2 * written_by(name, calls, buffers)))


def arithmetic_time(name: str, layer: Layer, shape: Shape, peak: float, division: float) -> float:
    """Return the seconds of the operations of a kernel, if each takes as long as a fused multiply-add.

    name: the name of the kernel.
    layer, shape: the layer, and the shape of its input.
    peak: the peak of fused multiply-adds, in FLOP/s.
    division: the seconds of a division.
    """
    one = 2 * LANES / peak
    if name.endswith("bias_gradient"):
        return EXACT_SUM * np.prod(layer.parameters(shape)["bias"].shape) * one
    if name.startswith("radial"):
        return 2 * layer.centers.size * one
    if name in TAPS:
        return TAPS[name] * np.prod(layer.output_shape(shape)) * np.prod(layer.taps) * one
    operations, divisions = OPERATIONS.get(name, (0, 0))
    return np.prod(shape) * (operations * one + divisions * division)


def exact_operations(layer: Layer, shape: Shape) -> float:
    """Return how many operations the exact sums of a layer's parameters need, and transposing before them, if any."""
    parameters = layer.parameters(shape)
    sums = np.prod(parameters["weight"].shape)
    biases = np.prod(parameters["bias"].shape) if layer.bias else 0
    if isinstance(layer, Dense | LocallyConnected2D) or layer.output_shape(shape)[1:] == (1, 1):
        transposed = sums / layer.output_shape(shape)[0]
        return EXACT_LANES * sums / LANES + TRANSPOSE * transposed + EXACT_SUM * biases
    return EXACT_SUM * (sums + biases)
