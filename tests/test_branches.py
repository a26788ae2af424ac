"""Branches: saved outputs that are added, concatenated and read again, against PyTorch and numerical derivatives."""

import numpy as np
import pytest

from distcnn import Net
from distcnn.errors import NetError
from distcnn.layers import (
    Add,
    Concatenate,
    Conv2D,
    Dense,
    Flatten,
    MaxPool2D,
    MeanPool2D,
    ReLU,
    SaveAs,
    StartFrom,
    Tanh,
)
from tests.helpers import oracle
from tests.helpers.arrays import close, normal

pytestmark = pytest.mark.check

SHAPE = (2, 5, 6)


def relu(x):
    return np.maximum(x, 0)


def halved(x):
    return oracle.mean_pool(x, 2, 2, 0, False, True)


GRAPHS = [  # layers, and the same as a formula
    ([SaveAs("a"), Tanh(), Add("a")], lambda x: np.tanh(x) + x),
    ([SaveAs("a"), Add("a"), Add("a")], lambda x: 3 * x),
    ([SaveAs("a")], lambda x: x),
    ([ReLU(), SaveAs("a"), Tanh(), Add("a"), ReLU()], lambda x: relu(np.tanh(relu(x)) + relu(x))),
    ([Tanh(), SaveAs("a"), ReLU(), SaveAs("b"), Add("a"), Tanh(), Add("b")], None),
    ([SaveAs("a"), Tanh(), Concatenate("a")], lambda x: np.concatenate([np.tanh(x), x], axis=1)),
    ([SaveAs("a"), Tanh(), SaveAs("b"), StartFrom("a"), ReLU(), Add("b")], lambda x: relu(x) + np.tanh(x)),
    (
        [SaveAs("a"), MeanPool2D(2), SaveAs("b"), StartFrom("a"), Tanh(), MeanPool2D(2), Concatenate("b")],
        None,
    ),
    (
        [SaveAs("a"), Flatten(), SaveAs("b"), Tanh(), Add("b")],
        lambda x: np.tanh(x).reshape(len(x), -1) + x.reshape(len(x), -1),
    ),
    (
        [Flatten(), SaveAs("b"), Tanh(), Concatenate("b")],
        lambda x: np.hstack([np.tanh(x.reshape(len(x), -1)), x.reshape(len(x), -1)]),
    ),
    ([SaveAs("a"), Tanh(), Concatenate("a"), MaxPool2D(1, 2), Add("a", stride=2)], None),
]
FORMULAS = {
    4: lambda x: np.tanh(relu(np.tanh(x)) + np.tanh(x)) + relu(np.tanh(x)),
    7: lambda x: np.concatenate([halved(np.tanh(x)), halved(x)], axis=1),
    10: lambda x: np.concatenate([np.tanh(x) + x, x], axis=1)[:, :, ::2, ::2],
}


@pytest.mark.parametrize("k", range(len(GRAPHS)))
def test_graph(k):
    layers, formula = GRAPHS[k]
    formula = formula or FORMULAS[k]
    net, x = Net(layers, SHAPE), normal(18, *SHAPE)
    for _ in range(2):  # the second time, nothing may be left of the first
        y = net.forward(x)
        assert close(y, formula(x.astype(np.float64)))
        dy = normal(*y.shape, seed=2)
        assert close(net.backward(dy), oracle.derivative(formula, x, dy))


def test_residual_block_agrees_with_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    inside = [Conv2D(4, 3, 2, padding=1), ReLU(), Conv2D(4, 3, padding=1)]
    net = Net(
        [Conv2D(2, 3), ReLU(), SaveAs("a"), *inside, Add("a", stride=2), ReLU(), Flatten(), Dense(3)],
        (2, 9, 9),
    )
    x, dy = normal(17, 2, 9, 9), normal(17, 3, seed=1)
    weights = [torch.from_numpy(view.copy()).requires_grad_() for view in net.parameters.values()]
    convolve, rectify = torch.nn.functional.conv2d, torch.nn.functional.relu
    saved = rectify(convolve(torch.from_numpy(x), *weights[:2]))
    y = convolve(rectify(convolve(saved, *weights[2:4], stride=2, padding=1)), *weights[4:6], padding=1)
    y = rectify(y + torch.nn.functional.pad(saved[:, :, ::2, ::2], (0, 0, 0, 0, 0, 2)))
    y = torch.nn.functional.linear(y.flatten(1), *weights[6:])
    y.backward(torch.from_numpy(dy))
    assert close(net.forward(x), y.detach().numpy())
    net.backward(dy)
    for ours, theirs in zip(net.gradients.values(), weights, strict=True):
        assert close(ours, theirs.grad.numpy(), summands=dy)


@pytest.mark.parametrize(
    ("layers", "word"),
    [
        ([Add("a")], "no output is saved"),
        ([Add("a"), SaveAs("a")], "no output is saved"),
        ([SaveAs("a"), SaveAs("a")], "already"),
        ([SaveAs("a"), MeanPool2D(2), Add("a")], "cannot add"),
        ([SaveAs("a"), Flatten(), Add("a")], "cannot add"),
        ([SaveAs("a"), Conv2D(1, 1), Add("a")], "cannot add"),
        ([SaveAs("a"), MeanPool2D(2), Concatenate("a")], "cannot append"),
    ],
)
def test_branches_that_do_not_fit_are_refused(layers, word):
    with pytest.raises(NetError, match=word):
        Net(layers, SHAPE)
