"""The ONNX operators that compute each kind of layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from distcnn import layers
from distcnn.errors import NetError
from distcnn.exchange.onnx_graph import Graph
from distcnn.layers.base import Layer
from distcnn.layers.declarations import Shape
from distcnn.layers.pool2d import WeightedPool2D

Arrays = dict[str, np.ndarray]  # parameters and running statistics of a layer, by name
Saved = dict[str, tuple[str, Shape]]  # by the name in SaveAs: the value, and its shape without samples


def layer_value(graph: Graph, layer: Layer, x: str, shape: Shape, arrays: Arrays, saved: Saved) -> str:
    """Add the operators of a layer to a graph, and return the name of its output.

    x: the name of its input.
    shape: of its input, without samples.
    arrays: its parameters and running statistics.
    saved: the outputs that SaveAs layers before it have saved; a SaveAs adds its own.

    Raises NetError if the layer has no such operators, as a layer of the user's own.
    """
    if layer.saves_as:
        saved[layer.saves_as] = x, shape
    if layer.reads is not None:
        return _READERS[type(layer)](graph, layer, x, shape, *saved[layer.reads])
    convert = _CONVERTERS.get(type(layer))
    if convert is None:
        raise NetError(f"{layer} has no counterpart in ONNX; wanted layers of distcnn alone")
    return convert(graph, layer, x, shape, arrays)


# ---- layers with weights ----


def _convolution(graph: Graph, layer: Any, x: str, shape: Shape, arrays: Arrays) -> str:
    down, across = layer.axes
    attributes = {
        "strides": [down.stride, across.stride],
        "dilations": [down.dilation, across.dilation],
        "pads": [down.padding, across.padding] * 2,
        "group": layer.groups,
    }
    return graph.node("Conv", x, *map(graph.constant, _weight_and_bias(arrays)), **attributes)


def _weight_and_bias(arrays: Arrays) -> list[np.ndarray]:
    return [arrays[name] for name in ("weight", "bias") if name in arrays]


def _table_convolution(graph: Graph, layer: Any, x: str, shape: Shape, arrays: Arrays) -> str:
    """Add a convolution of all pairs of maps, with zeros for the pairs that are not connected."""
    whole = layers.Conv2D(
        len(layer.connections), layer.kernel_size, layer.stride, layer.padding, layer.dilation
    )
    weight = np.zeros(whole.parameters(shape)["weight"].shape, np.float32)
    pairs = [(o, c) for o, row in enumerate(layer.connections) for c in row]
    for (o, c), filters in zip(pairs, arrays["weight"], strict=True):
        weight[o, c] = filters
    return _convolution(graph, whole, x, shape, arrays | {"weight": weight})


def _local(graph: Graph, layer: Any, x: str, shape: Shape, arrays: Arrays) -> str:
    """Add a convolution that copies every window into channels, and a matrix product at every position."""
    oh, ow, outputs, *window = arrays["weight"].shape
    features = math.prod(window)
    copies = np.eye(features, dtype=np.float32).reshape(features, *window)
    place = layers.Conv2D(
        features, layer.kernel_size, layer.stride, layer.padding, layer.dilation, bias=False
    )
    windows = _convolution(graph, place, x, shape, {"weight": copies})
    windows = graph.node("Reshape", windows, graph.integers(0, features, oh * ow))
    columns = graph.node("Transpose", windows, perm=[2, 1, 0])  # [positions, features, n]
    matrices = graph.constant(arrays["weight"].reshape(oh * ow, outputs, features))
    product = graph.node("Transpose", graph.node("MatMul", matrices, columns), perm=[2, 1, 0])
    y = graph.node("Reshape", product, graph.integers(0, outputs, oh, ow))
    bias = arrays.get("bias")
    return y if bias is None else graph.node("Add", y, graph.constant(bias.transpose(2, 0, 1)[None]))


def _dense(graph: Graph, layer: Any, x: str, shape: Shape, arrays: Arrays) -> str:
    return graph.node("Gemm", x, *map(graph.constant, _weight_and_bias(arrays)), transB=1)


def _radial_basis(graph: Graph, layer: Any, x: str, shape: Shape, arrays: Arrays) -> str:
    wide = graph.node("Unsqueeze", x, graph.integers(1))
    difference = graph.node("Sub", wide, graph.constant(layer.centers[None]))
    squares = graph.node("Mul", difference, difference)
    return graph.node("Neg", graph.node("ReduceSum", squares, graph.integers(2), keepdims=0))


def _batch_norm(graph: Graph, layer: Any, x: str, shape: Shape, arrays: Arrays) -> str:
    names = "weight", "bias", "running_mean", "running_var"
    return graph.node(
        "BatchNormalization", x, *(graph.constant(arrays[name]) for name in names), epsilon=layer.eps
    )


# ---- pooling ----


def _max_pool(graph: Graph, layer: Any, x: str, shape: Shape, arrays: Arrays) -> str:
    """Add a maximum over windows that all lie inside an image, which is made larger if need be.

    Runtimes count the windows of `ceil_mode` in other ways than PyTorch, so it is not used.
    """
    counts, before, after = layer.window_counts(shape), [], []
    for axis, count, size in zip(layer.axes, counts, shape[1:], strict=True):
        before.append(axis.padding)
        after.append((count - 1) * axis.stride + axis.kernel_size - axis.padding - size)
    ends = [max(0, each) for each in after]
    if any(before) or any(ends):
        pads = graph.integers(0, 0, *before, 0, 0, *ends)
        x = graph.node("Pad", x, pads, graph.floats(-math.inf), mode="constant")
    down, across = layer.axes
    return graph.node("MaxPool", x, kernel_shape=list(layer.taps), strides=[down.stride, across.stride])


def _weighted_pool(graph: Graph, layer: Any, x: str, shape: Shape, arrays: Arrays) -> str:
    """Add a matrix product for rows and one for columns, as the weight of a pixel is a product of two."""
    rows, columns = (
        _window_matrix(table, axis, size)
        for table, axis, size in zip(layer.tables(shape), layer.axes, shape[1:], strict=True)
    )
    y = graph.node("MatMul", graph.constant(rows), graph.node("MatMul", x, graph.constant(columns.T)))
    if "coefficient" in arrays:
        y = graph.node("Mul", y, graph.constant(arrays["coefficient"][None, :, None, None]))
        y = graph.node("Add", y, graph.constant(arrays["bias"][None, :, None, None]))
    return y


def _window_matrix(table: np.ndarray, axis: Any, size: int) -> np.ndarray:
    """Return the matrix [windows, pixels] of weights along one axis; table: [windows, taps]."""
    matrix = np.zeros((len(table), size), np.float32)
    for k, weights in enumerate(table):
        start = k * axis.stride - axis.padding
        for j, weight in enumerate(weights):
            if 0 <= start + j < size:
                matrix[k, start + j] = weight
    return matrix


def _global_mean(graph: Graph, layer: Any, x: str, shape: Shape, arrays: Arrays) -> str:
    return graph.node("GlobalAveragePool", x)


# ---- functions of single numbers, and shapes ----


def _tanh(graph: Graph, layer: Any, x: str, shape: Shape, arrays: Arrays) -> str:
    inner = graph.node("Tanh", graph.node("Mul", x, graph.floats(layer.slope)))
    return graph.node("Mul", inner, graph.floats(layer.amplitude))


def _silu(graph: Graph, layer: Any, x: str, shape: Shape, arrays: Arrays) -> str:
    return graph.node("Mul", x, graph.node("Sigmoid", x))


def _gelu(graph: Graph, layer: Any, x: str, shape: Shape, arrays: Arrays) -> str:
    """Add x times the normal distribution function, (1 + erf(x / sqrt(2))) / 2."""
    erf = graph.node("Erf", graph.node("Mul", x, graph.floats(math.sqrt(0.5))))
    return graph.node(
        "Mul", x, graph.node("Mul", graph.node("Add", erf, graph.floats(1.0)), graph.floats(0.5))
    )


def _operator(name: str, **attributes: Any) -> Callable[..., str]:
    """Return a converter that adds one operator."""
    return lambda graph, layer, x, shape, arrays: graph.node(name, x, **attributes)


def _nothing(graph: Graph, layer: Any, x: str, shape: Shape, arrays: Arrays) -> str:
    return x


# ---- layers that read a saved output ----


def _add(graph: Graph, layer: Any, x: str, shape: Shape, other: str, other_shape: Shape) -> str:
    if layer.stride > 1:
        axes = range(2, len(shape) + 1)
        ends = [graph.integers(*(number for _ in axes)) for number in (0, 2**31, layer.stride)]
        other = graph.node("Slice", other, ends[0], ends[1], graph.integers(*axes), ends[2])
    missing = shape[0] - other_shape[0]
    if missing:
        pads = [0] * (2 * len(shape) + 2)
        pads[len(shape) + 2] = missing
        other = graph.node("Pad", other, graph.integers(*pads), graph.floats(0.0), mode="constant")
    return graph.node("Add", x, other)


def _concatenate(graph: Graph, layer: Any, x: str, shape: Shape, other: str, other_shape: Shape) -> str:
    return graph.node("Concat", x, other, axis=1)


def _start_from(graph: Graph, layer: Any, x: str, shape: Shape, other: str, other_shape: Shape) -> str:
    return other


_READERS: dict[type[Layer], Callable[..., str]] = {
    layers.Add: _add,
    layers.Concatenate: _concatenate,
    layers.StartFrom: _start_from,
}
_CONVERTERS: dict[type[Layer], Callable[..., str]] = {
    layers.Conv2D: _convolution,
    layers.TableConv2D: _table_convolution,
    layers.LocallyConnected2D: _local,
    layers.Dense: _dense,
    layers.RadialBasis: _radial_basis,
    layers.BatchNorm2D: _batch_norm,
    layers.MaxPool2D: _max_pool,
    **{
        kind: _weighted_pool
        for kind in vars(layers).values()
        if isinstance(kind, type) and issubclass(kind, WeightedPool2D)
    },
    layers.GlobalMeanPool2D: _global_mean,
    layers.ReLU: _operator("Relu"),
    layers.Sigmoid: _operator("Sigmoid"),
    layers.Tanh: _tanh,
    layers.SiLU: _silu,
    layers.GELU: _gelu,
    layers.Softmax: _operator("Softmax", axis=1),
    layers.Flatten: _operator("Flatten", axis=1),
    layers.Dropout: _nothing,
    layers.SaveAs: _nothing,
}
