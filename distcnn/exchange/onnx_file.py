"""A trained net as an ONNX file, checked with ONNX Runtime where that is installed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np

from distcnn.errors import NetError
from distcnn.exchange.onnx_graph import Graph
from distcnn.exchange.onnx_layers import Arrays, layer_value
from distcnn.exchange.optional_packages import require_package
from distcnn.layers import Conv2D, Dense, Flatten
from distcnn.network.net import Net

GRAPH, FOLD, NONE = "graph", "fold", "none"  # what happens to the normalization of images
TOLERANCE = 1e-5  # of outputs, relative to the largest
PROTOBUF_LIMIT = 2**31 - 2**20  # bytes of a model in one file
IMAGES = 5  # of the check


def onnx_bytes(net: Net, classes: Sequence[str], probabilities: bool, normalize: str) -> bytes:
    """Return the bytes of an ONNX file.

    net: the net, with the normalization of its images.
    classes: the names of the outputs, which the file holds as a property, in JSON.
    probabilities: whether the output is probabilities instead of logits, by the softmax or the sigmoid of the task.
    normalize: "graph" for operators that normalize images, "fold" for weights of the first layer that do so, "none" if
        the images that the model gets are normalized already.

    Raises NetError for a layer that ONNX cannot express, and for a first layer that cannot take the normalization.
    """
    require_package("onnx")
    import onnx

    if net.weights.nbytes > PROTOBUF_LIMIT:
        raise NetError(
            f"{net.weights.nbytes / 2**30:.1f} GiB of weights do not fit into an ONNX file of at most 2 GiB"
        )
    graph = Graph()
    arrays = [_arrays(net, number) for number in range(len(net.layers))]
    x = "images"
    if normalize == GRAPH:
        x = graph.node("Mul", x, graph.constant(net.scale[None, :, None, None]))
        x = graph.node("Add", x, graph.constant(net.shift[None, :, None, None]))
    elif normalize == FOLD:
        _fold(net, arrays)
    saved: dict = {}
    for layer, shape, own in zip(net.layers, net.shapes, arrays, strict=False):
        x = layer_value(graph, layer, x, shape, own, saved)
    x = _result(graph, net, x, probabilities)
    names = "images", _output_name(net, probabilities)
    about = {"classes": json.dumps(list(classes)), "task": net.task.name}
    properties = about | {"weights_sha256": net.digest}
    model = graph.model(x, names, (net.input_shape, net.shapes[-1]), properties)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def _output_name(net: Net, probabilities: bool) -> str:
    if net.task.standardizes:
        return "predictions"
    return "probabilities" if probabilities else "logits"


def _result(graph: Graph, net: Net, x: str, probabilities: bool) -> str:
    """Return the value that the model gives, for the output x of the net: in the unit of the targets if it has some."""
    if net.task.standardizes:
        mean, std = net.targets.array
        return graph.node("Add", graph.node("Mul", x, graph.constant(std[None])), graph.constant(mean[None]))
    if not probabilities:
        return x
    return (
        graph.node("Softmax", x, axis=1) if net.task.probabilities == "softmax" else graph.node("Sigmoid", x)
    )


def difference(content: bytes, net: Net, probabilities: bool, normalize: str) -> float | None:
    """Return how much the outputs of ONNX Runtime differ from those of the net, relative to the largest output.

    Return None if ONNX Runtime is not installed.

    content: the bytes of the ONNX file.
    net: the net.
    probabilities, normalize: as in `onnx_bytes`.
    """
    if find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    normalized = np.random.default_rng(0).normal(0, 1, (IMAGES, *net.input_shape)).astype(np.float32)
    images = (normalized - net.shift[:, None, None]) / net.scale[:, None, None]
    given = normalized if normalize == NONE else images
    theirs = np.concatenate(
        [session.run(None, {"images": given[:1]})[0], session.run(None, {"images": given[1:]})[0]]
    )
    ours = net.predict(images)
    ours = net.targets.predictions(ours)
    if probabilities:
        ours = PROBABILITIES[net.task.probabilities](ours.astype(np.float64)).astype(np.float32)
    return float(np.abs(theirs - ours).max() / max(np.abs(ours).max(), 1e-30))


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


PROBABILITIES = {"softmax": _softmax, "sigmoid": _sigmoid}


def _arrays(net: Net, number: int) -> Arrays:
    """Return the parameters and running statistics of a layer by their names in the layer."""
    found = ((key.split(".", 1), array) for key, array in net.arrays.items())
    return {name: array for (index, name), array in found if int(index) == number}


def _fold(net: Net, arrays: list[Arrays]) -> None:
    """Multiply the normalization into the weights of the first layer that has some.

    The padding of a convolution is 0 in normalized images, which the weights cannot express.
    """
    number = next((k for k, layer in enumerate(net.layers) if not isinstance(layer, Flatten)), 0)
    layer, own = net.layers[number], arrays[number]
    fits = isinstance(layer, Dense) or (isinstance(layer, Conv2D) and layer.groups == 1)
    if not fits or (isinstance(layer, Conv2D) and any(axis.padding for axis in layer.axes)):
        wanted = "wanted a Dense layer or a Conv2D without padding and groups"
        raise NetError(
            f"the normalization cannot be folded into {layer}: {wanted}; leave --normalize fold out"
        )
    weight = own["weight"]
    pixels = weight.reshape(len(weight), net.input_shape[0], -1).astype(np.float64)
    bias = own.get("bias", np.zeros(len(weight), np.float32)) + (pixels * net.shift[:, None]).sum(axis=(1, 2))
    scaled = (pixels * net.scale[:, None]).reshape(weight.shape)
    arrays[number] = own | {"weight": scaled.astype(np.float32), "bias": bias.astype(np.float32)}
