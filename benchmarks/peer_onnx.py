"""The peer ONNX Runtime, on one thread: our nets, converted to ONNX graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from distcnn import layers as ours

if TYPE_CHECKING:
    import numpy as np

    from distcnn.network.net import Net

OPSET = 17


def predictions(net: Net, images: np.ndarray, quick: bool) -> dict[str, Callable]:
    """Return {name: forward pass}."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model = graph(net, len(images)).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return {"ONNX Runtime": lambda: session.run(None, {"0": images})[0]}


def graph(net: Net, samples: int) -> onnx.ModelProto:
    """Return a net as an ONNX model for a fixed number of samples; the value named k is the input of layer k."""
    nodes = [_node(layer, str(k), str(k + 1)) for k, layer in enumerate(net.layers)]
    weights = [numpy_helper.from_array(array.copy(), name) for name, array in net.parameters.items()]
    x, y = (_value(str(k), (samples, *net.shapes[k])) for k in (0, len(net.layers)))
    made = helper.make_graph(nodes, "net", [x], [y], weights)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def _value(name, shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _node(layer, x, y):
    inputs = [x, f"{x}.weight", f"{x}.bias"]
    match layer:
        case ours.Conv2D():
            return helper.make_node("Conv", inputs, [y], **_windows(layer))
        case ours.MaxPool2D():
            return helper.make_node("MaxPool", [x], [y], **_windows(layer))
        case ours.Dense():
            return helper.make_node("Gemm", inputs, [y], transB=1)
        case ours.ReLU():
            return helper.make_node("Relu", [x], [y])
        case ours.Flatten():
            return helper.make_node("Flatten", [x], [y])


def _windows(layer):
    strides, padding = [axis.stride for axis in layer.axes], [axis.padding for axis in layer.axes]
    return {"kernel_shape": layer.taps, "strides": strides, "pads": padding * 2}
