"""The losses of the tasks against their formulas: any number of outputs, extreme outputs, empty lanes, any order."""

import re

import numpy as np
import pytest

from distcnn import Net
from distcnn.config.tasks import TASKS
from distcnn.config.types import CLASSIFY, MULTILABEL, REGRESS
from distcnn.errors import Diverged, NetError
from distcnn.kernels.float_mode import ieee_mode
from distcnn.lanes import LANES
from distcnn.layers import Dense, Dropout, Flatten, RadialBasis, ReLU, Sigmoid, Softmax, Tanh
from distcnn.network.losses import LOSSES, check_last, doubts
from distcnn.network.plan import Block
from distcnn.numerics.fixed_point import HEAD
from distcnn.training.metrics import METRICS_OF
from distcnn.training.prediction import ANSWERS
from tests.helpers import oracle
from tests.helpers.arrays import normal

N = 21  # samples: a whole block, and one with eleven empty lanes
ROWS = (MULTILABEL, REGRESS)


def net_of(task, outputs):
    """Return a net of one Dense layer whose weights are of order 1, and images for it."""
    net = Net([Flatten(), Dense(outputs)], (6, 1, 1), task=task)
    net.weights[:] = normal(net.weights.size)
    return net, 3 * normal(N, 6, 1, 1, seed=1)


def labels_of(task, outputs):
    numbers = normal(N, outputs, seed=2)
    return {CLASSIFY: np.arange(N) % outputs, MULTILABEL: (numbers > 0.3) * 1, REGRESS: 50 + 7 * numbers}[
        task
    ]


def test_every_task_has_its_entries():
    for table in (LOSSES, METRICS_OF, ANSWERS):
        assert list(table) == list(TASKS)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("outputs", [1, 2, 10, 37])
def test_sigmoid_cross_entropy(outputs, smoothing):
    net, images = net_of(MULTILABEL, outputs)
    net.label_smoothing = smoothing
    labels = labels_of(MULTILABEL, outputs)
    loss, gradients = net.loss_and_gradients(images, labels)
    logits = net.predict(images)
    wanted, dz = oracle.sigmoid_cross_entropy(logits, labels, smoothing)
    assert loss == pytest.approx(wanted, rel=1e-6)
    assert np.allclose(gradients["1.bias"], dz.sum(axis=0), atol=1e-7)
    assert net.counters.correct == ((logits > 0) == labels).all(axis=1).sum()
    assert net.counters.samples == N


@pytest.mark.parametrize("outputs", [1, 2, 10, 37])
def test_squared_error(outputs):
    net, images = net_of(REGRESS, outputs)
    targets = labels_of(REGRESS, outputs).astype(np.float32)
    mean, std = np.linspace(40, 60, outputs), np.linspace(2, 9, outputs)
    net.targets.set(mean, std)
    loss, gradients = net.loss_and_gradients(images, targets)
    wanted, dz = oracle.squared_error(net.predict(images), targets, *net.targets.array)
    assert loss == pytest.approx(wanted, rel=1e-6)
    assert np.allclose(gradients["1.bias"], dz.sum(axis=0), atol=3e-7)
    assert (net.counters.correct, net.counters.samples) == (0, N)


def test_one_output_takes_labels_in_one_axis():
    net, images = net_of(REGRESS, 1)
    targets = labels_of(REGRESS, 1)
    assert net.loss_and_gradients(images, targets[:, 0])[0] == net.loss_and_gradients(images, targets)[0]


def test_logits_of_any_size_have_a_loss():
    net = Net([Flatten(), Dense(2, bias=False)], (2, 1, 1), task=MULTILABEL)
    net.parameters["1.weight"][...] = np.eye(2)
    logits = np.array([[9e6, -9e6], [-9e6, 9e6], [1e-30, -1e-30], [95, -95]], np.float32)
    labels = np.array([[1, 0], [1, 0], [1, 0], [0, 1]])
    loss, _ = net.loss_and_gradients(logits.reshape(4, 2, 1, 1), labels)
    assert loss == pytest.approx((0 + 9e6 + np.log(2) + 95) / 4, rel=1e-6)


@pytest.mark.parametrize("task", ROWS)
def test_nan_is_found(task):
    net, images = net_of(task, 3)
    net.parameters["1.bias"][1] = np.nan
    with pytest.raises(Diverged):
        net.loss_and_gradients(images, labels_of(task, 3))


@pytest.mark.parametrize("task", ROWS)
def test_sums_depend_neither_on_the_order_of_blocks_nor_on_empty_lanes(task):
    net, images = net_of(task, 5)
    labels = labels_of(task, 5).astype(np.float32)
    blocks = [Block.of(images, labels, part) for part in (np.arange(16), np.arange(16, N))]
    wanted = sums_of(net, blocks)
    empty = np.arange(LANES) >= N - 16
    blocks[1].index[empty], blocks[1].label[empty] = 0, 1e9
    assert (sums_of(net, blocks[::-1]) == wanted).all()
    assert np.count_nonzero(wanted[HEAD:]) > 20


def sums_of(net, blocks):
    """Return the exact sums over blocks, in this order."""
    net.sums[:] = 0
    net.start(len(blocks))
    with ieee_mode():
        for block in blocks:
            net.train_group([block])
    return net.sums.copy()


@pytest.mark.parametrize(
    ("task", "labels", "words"),
    [
        (MULTILABEL, np.arange(N), "wanted 0 and 1 of shape"),
        (MULTILABEL, np.full((N, 3), 2), "wanted 0 and 1 alone"),
        (MULTILABEL, np.zeros((N, 4)), r"wanted 0 and 1 of shape \(21, 3\)"),
        (REGRESS, np.full((N, 3), np.nan), "not all finite"),
        (REGRESS, np.full((N, 3), "a"), r"wanted numbers of shape \(21, 3\)"),
        (REGRESS, np.zeros(N), r"wanted numbers of shape \(21, 3\)"),
    ],
)
def test_labels_of_another_kind_are_refused(task, labels, words):
    net, images = net_of(task, 3)
    with pytest.raises(NetError, match=words):
        net.loss_and_gradients(images, labels)


@pytest.mark.parametrize(
    ("task", "last", "words"),
    [
        (MULTILABEL, Sigmoid(), r"computes the sigmoid itself: leave out the final Sigmoid\(\)"),
        (MULTILABEL, Softmax(), r"leave out the final Softmax\(\)"),
        (MULTILABEL, RadialBasis(np.eye(3)), "use a net that ends in Dense"),
        (REGRESS, ReLU(), r"targets are standardized: leave out the final ReLU\(\)"),
        (REGRESS, Sigmoid(), r"leave out the final Sigmoid\(\)"),
        (REGRESS, RadialBasis(np.eye(3)), "use a net that ends in Dense"),
    ],
)
def test_last_layers_that_contradict_the_loss_are_refused(task, last, words):
    layers = [Flatten(), Dense(3), last]
    with pytest.raises(NetError, match=words):
        Net(layers, (6, 1, 1), task=task).loss_and_gradients(normal(N, 6, 1, 1), labels_of(task, 3))
    Net(layers[:2], (6, 1, 1), task=task).loss_and_gradients(normal(N, 6, 1, 1), labels_of(task, 3))


def test_an_unknown_task_is_refused():
    with pytest.raises(NetError, match="task is 'segment'; wanted classify, multilabel, regress"):
        Net([Flatten(), Dense(3)], (6, 1, 1), task="segment")


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_last_layer_that_limits_the_outputs_is_told(task):
    """Every activation at the end of a net is refused or told, as none gives outputs of any size."""
    for last in (ReLU(), Sigmoid(), Tanh(), Softmax(), Dropout(0.5)):
        try:
            check_last(task, last, (3,))
            lines = list(doubts(task, last))
        except NetError as error:
            lines = [str(error)]
        assert len(lines) == 1
        assert re.search("leave (it )?out", lines[0])
    assert not list(doubts(task, Dense(3)))
