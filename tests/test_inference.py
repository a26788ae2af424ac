"""Plans for evaluation and prediction: the bits of the training plan's forward pass, norms folded, little memory."""

import numpy as np
import pytest

from distcnn import Net, models
from distcnn.data.dataset import Split
from distcnn.errors import Diverged
from distcnn.layers import BatchNorm2D, Conv2D, Dense, Dropout, Flatten, ReLU, SaveAs
from distcnn.network.passes import for_inference
from distcnn.network.shapes import infer_shapes
from distcnn.parallel.serial import SerialComm
from distcnn.training import evaluation
from distcnn.training.evaluation import evaluate
from distcnn.training.workers import WorkerPool
from tests.helpers.arrays import close, normal
from tests.helpers.nets import OTHERS, PLAIN

NORMS = [
    *(Conv2D(8, 3, padding=1, bias=False), BatchNorm2D(), ReLU(), SaveAs("a"), Conv2D(8, 3, padding=1)),
    *(Dropout(0.3), BatchNorm2D(1e-3), Conv2D(5, 2, stride=2), BatchNorm2D(), Flatten(), Dropout(), Dense(3)),
]


def unsettled(layers, shape):
    """Return a net whose parameters and running statistics differ from all defaults."""
    net = Net(layers, shape)
    for number, (key, view) in enumerate(net.arrays.items()):
        view[...] = normal(*view.shape, seed=number) * 0.3
        if key.endswith("running_var"):
            view[...] = 0.5 + view**2
    return net


@pytest.mark.parametrize("layers", [PLAIN, [each for each in OTHERS if not isinstance(each, BatchNorm2D)]])
def test_without_a_norm_the_bits_are_those_of_the_training_plan(layers):
    net, x = unsettled(layers, (2, 8, 8)), normal(37, 2, 8, 8)
    wanted = net.forward(x, training=False)
    for _ in range(2):  # what one block leaves in shared memory does not change the next
        assert np.array_equal(net.predict(x), wanted)


def test_a_norm_is_folded_into_the_convolution_before_it():
    net, x = unsettled(NORMS, (2, 8, 8)), normal(20, 2, 8, 8)
    assert close(net.predict(x), net.forward(x, training=False), summands=1)
    net.arrays["1.running_mean"][...] += 1
    net.parameters["4.weight"][...] *= 2
    assert close(net.predict(x), net.forward(x, training=False), summands=1)


def computed(layers, shape=(2, 8, 8)):
    """Return (layer, its number, that of the norm folded into it, whether a ReLU is fused, shape of y) of each node."""
    return [
        (node.layer, node.number, node.norm and node.norm.number, node.epilogue is not None, node.out_shape)
        for node in for_inference(layers, infer_shapes(layers, shape)[0])
    ]


def test_what_inference_computes():
    """The norm behind a Dropout is not folded: the convolution is not the layer before it."""
    conv, norm = NORMS[0], NORMS[1]
    assert computed(NORMS[:3]) == [(conv, 0, 1, True, (8, 8, 8))]
    assert computed([norm, ReLU(), conv, SaveAs("a"), norm]) == [
        *((norm, 0, None, True, (2, 8, 8)), (conv, 2, None, False, (8, 8, 8))),
        *((SaveAs("a"), 3, None, False, (8, 8, 8)), (norm, 4, None, False, (8, 8, 8))),
    ]
    assert [number for _, number, *_ in computed(NORMS)] == [0, 3, 4, 6, 7, 9, 11]


def test_memory_does_not_grow_with_depth():
    plans = [models.build(name, (3, 32, 32), 10, seed=0).inference for name in ("resnet20", "resnet56")]
    assert plans[0].memory == plans[1].memory
    assert 3 * plans[0].memory < sum(value.array.nbytes for value in plans[0].values)


def test_the_range_of_exact_sums_does_not_limit_an_evaluation(monkeypatch):
    """A mean loss of 2**26 over three blocks: 2**30 and more for each, beyond the range of a sum over all."""
    monkeypatch.setattr(evaluation, "ROUND", 1)
    net = Net([Flatten(), Dense(2)], (1, 1, 1))
    net.parameters["1.weight"][...] = [[0], [2.0**22]]
    part = Split(np.ones((48, 1, 1, 1), np.float32), np.zeros(48, np.int32))
    found = evaluate(WorkerPool(net), part, SerialComm())
    assert (found["loss"], found["accuracy"]) == (2.0**22, 0)
    net.parameters["1.weight"][1] = 2.0**24
    with pytest.raises(Diverged):
        evaluate(WorkerPool(net), part, SerialComm())
