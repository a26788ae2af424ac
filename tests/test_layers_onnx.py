"""Layers against the operator test vectors that the `onnx` package carries.

What our layers cannot express is left out by a rule that says why; `pytest -s` lists it. Of several outputs the first
one is compared. What an importer would fold into weights, as Gemm's factors, is folded here.
"""

from typing import NamedTuple

import numpy as np
import pytest

from distcnn import Net
from distcnn.layers import (
    BatchNorm2D,
    Conv2D,
    Dense,
    Flatten,
    GlobalMeanPool2D,
    MaxPool2D,
    MeanPool2D,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the vectors of other operators

IMAGES = ("Conv", "MaxPool", "AveragePool", "BatchNormalization", "GlobalAveragePool")
OTHERS = ("Gemm", "Relu", "Sigmoid", "Tanh", "Softmax")


class Case(NamedTuple):
    """One node: its name, operator, attributes, inputs and first output."""

    name: str
    operator: str
    attributes: dict
    inputs: list
    wanted: np.ndarray

    def get(self, name, default):
        """Return an attribute."""
        return self.attributes.get(name, default)

    @property
    def pads(self):
        """Rows above, columns left, rows below, columns right; `auto_pad` is worked out as ONNX says."""
        way = self.get("auto_pad", b"NOTSET")
        if way in (b"NOTSET", b"VALID"):
            return list(self.get("pads", [0, 0, 0, 0]))
        before, after = [], []
        strides = self.get("strides", [1, 1])
        for size, k, s in zip(self.inputs[0].shape[2:], self.get("kernel_shape", None), strides, strict=True):
            total = max(0, (-(-size // s) - 1) * s + k - size)
            small, large = total // 2, total - total // 2
            before.append(small if way == b"SAME_UPPER" else large)
            after.append(large if way == b"SAME_UPPER" else small)
        return before + after

    @property
    def window(self):
        """Arguments of a layer with windows."""
        stride, padding = tuple(self.get("strides", (1, 1))), tuple(self.pads[:2])
        return {"kernel_size": tuple(self.get("kernel_shape", ())), "stride": stride, "padding": padding}


def pools(case):
    """Return whether the case is of a pooling layer."""
    return case.operator in ("MaxPool", "AveragePool")


RULES = {  # why a case is left out: when
    "numbers other than float32": lambda case: case.inputs[0].dtype != np.float32,
    "not images": lambda case: case.operator in IMAGES and case.inputs[0].ndim != 4,
    "padding that differs on both sides": lambda case: case.pads[:2] != case.pads[2:],
    "pooling with dilation": lambda case: pools(case) and max(case.get("dilations", [1])) > 1,
    "padding of more than half the pooling window": lambda case: (
        pools(case) and any(2 * p > k for p, k in zip(case.pads, case.get("kernel_shape", []), strict=False))
    ),
    "a bias for each sample": lambda case: (
        case.operator == "Gemm" and len(case.inputs) == 3 and case.inputs[2].shape[:-1] not in ((), (1,))
    ),
}


@pytest.fixture(scope="module")
def cases():
    """All cases of our operators, by operator."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed: it belongs to the extra `test`")
    from onnx.backend.test.case.node import collect_testcases

    found = {operator: [] for operator in IMAGES + OTHERS}
    for case in collect_testcases():
        node = case.model.graph.node[0]
        if len(case.model.graph.node) == 1 and node.op_type in found:
            attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
            inputs, outputs = case.data_sets[0]
            found[node.op_type].append(Case(case.name, node.op_type, attributes, list(inputs), outputs[0]))
    return found


def reason(case):
    """Return why a case is left out, or None."""
    return next((why for why, holds in RULES.items() if holds(case)), None)


def computed(layers, x, training=False, **parameters):
    """Return what the layers give for samples x, with parameters of the last layer."""
    net = Net(layers, x.shape[1:])
    for name, value in parameters.items():
        net.arrays[f"{len(layers) - 1}.{name}"][...] = value
    return net.forward(x, training)


def convolution(case):
    x, weight, *bias = case.inputs
    layer = Conv2D(
        len(weight),
        **case.window,
        dilation=tuple(case.get("dilations", (1, 1))),
        groups=case.get("group", 1),
        bias=bool(bias),
    )
    return computed([layer], x, weight=weight, **({"bias": bias[0]} if bias else {}))


def mean_pool(case):
    counted = bool(case.get("count_include_pad", 0))
    options = {"ceil_mode": bool(case.get("ceil_mode", 0)), "count_include_pad": counted}
    return computed([MeanPool2D(**case.window, **options)], case.inputs[0])


def max_pool(case):
    return computed([MaxPool2D(**case.window, ceil_mode=bool(case.get("ceil_mode", 0)))], case.inputs[0])


def batch_norm(case):
    x, *values = case.inputs
    names = ("weight", "bias", "running_mean", "running_var")
    layer = BatchNorm2D(case.get("epsilon", 1e-5))
    return computed([layer], x, bool(case.get("training_mode", 0)), **dict(zip(names, values, strict=True)))


def dense(case):
    a, b, *c = case.inputs
    a = (a.T if case.get("transA", 0) else a)[:, :, None, None]
    weight = (b if case.get("transB", 0) else b.T) * np.float32(case.get("alpha", 1.0))
    bias = c[0] * np.float32(case.get("beta", 1.0)) if c else 0
    return computed([Flatten(), Dense(len(weight))], a, weight=weight, bias=bias)


def softmax(case):
    x = np.moveaxis(case.inputs[0], case.get("axis", -1), 0)
    y = computed([Softmax()], x.reshape(1, len(x), -1, 1))
    return np.moveaxis(y.reshape(x.shape), 0, case.get("axis", -1))


def pointwise(layer):
    return lambda case: computed([layer], case.inputs[0].reshape(1, -1, 1, 1)).reshape(case.inputs[0].shape)


OURS = {
    "Conv": convolution,
    "MaxPool": max_pool,
    "AveragePool": mean_pool,
    "BatchNormalization": batch_norm,
    "GlobalAveragePool": lambda case: computed([GlobalMeanPool2D()], case.inputs[0]),
    "Gemm": dense,
    "Relu": pointwise(ReLU()),
    "Sigmoid": pointwise(Sigmoid()),
    "Tanh": pointwise(Tanh()),
    "Softmax": softmax,
}


@pytest.mark.parametrize("operator", OURS)
def test_operator(cases, operator):
    agreeing = 0
    for case in cases[operator]:
        why = reason(case)
        print(f"{case.name}: {f'left out: {why}' if why else 'compared'}")
        if why is None:
            y = OURS[operator](case)
            assert y.shape == case.wanted.shape, case.name
            rounded = np.array_equal(case.wanted, np.round(case.wanted, 4))  # some vectors have four decimals
            assert np.allclose(y, case.wanted, rtol=1e-5, atol=6e-5 if rounded else 1e-6), case.name
            agreeing += 1
    assert agreeing


def test_enough_cases_are_compared(cases):
    assert sum(reason(case) is None for each in cases.values() for case in each) >= 45
