"""Weights of classes: exact counts, PyTorch's mean over a batch, and a rare class that is found."""

import h5py
import numpy as np
import pytest

from distcnn import Net
from distcnn.config.parser import parse
from distcnn.config.settings import Config
from distcnn.data.hdf5_file import DIGITS
from distcnn.errors import ConfigError
from distcnn.layers import Dense, Flatten, SiLU
from distcnn.network.plan import Block
from distcnn.training.class_weights import class_weights, told
from distcnn.training.optimizers import SGD
from tests.helpers.arrays import normal
from tests.helpers.trainings import train_to, trainer_of

CLASSES = "a", "b", "c"
LABELS = np.repeat([0, 1, 2], [30, 6, 4])
WEIGHTS = (0.2, 1.0, 3.0, 0.0, 7.5, 1.0, 0.4, 2.0, 1.0, 1.0)  # of the ten classes of a lock-step
STEPS, RATE, MOMENTUM = 10, 0.05, 0.9


def test_balanced_weights_come_from_exact_counts():
    """As in scikit-learn: samples / (classes * samples of the class); a class without samples weighs nothing."""
    found = class_weights("balanced", LABELS, CLASSES)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array([40 / 90, 40 / 18, 40 / 12], np.float32))
    np.testing.assert_array_equal(class_weights("balanced", LABELS, [*CLASSES, "d"])[3], 0)
    np.testing.assert_array_equal(class_weights("balanced", np.arange(30) % 3, CLASSES), np.ones(3))


def test_weights_have_the_mean_1_over_the_samples():
    found = class_weights((1e300, 2e300, 0.0), LABELS, CLASSES).astype(np.float64)
    assert found[1] / found[0] == pytest.approx(2)
    assert found[LABELS].mean() == pytest.approx(1)
    assert list(told(found, CLASSES)) == ["class weights: a 0.9524, b 1.905, c 0"]
    assert class_weights(None, LABELS, CLASSES) is None


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("1,2", "--class-weight has 2 weights, but the data have 3 classes (a, b, c): give one for each"),
        (
            "0,0,1",
            "'c' weighs 10 times the mean over all training images; wanted at most 9: give weights nearer",
        ),
        (
            "1,-2,1",
            "--class-weight: [1.0, -2.0, 1.0] is not valid; wanted balanced, or a number from 0 for each class",
        ),
        ("0,0,0", "is not valid; wanted balanced, or a number from 0 for each class, not all 0"),
        ("1,nan,1", "--class-weight: '1,nan,1' is not valid"),
        ("1,inf,1", "is not valid"),
        ("1,,1", "is not valid"),
        ("balance", "--class-weight: 'balance' is not valid"),
    ],
)
def test_wrong_weights_are_refused(word, said, monkeypatch):
    monkeypatch.setattr("distcnn.training.class_weights.MOST", 9)
    with pytest.raises(ConfigError) as caught:
        class_weights(parse(["--class-weight", word], "p").config.class_weight, LABELS, CLASSES)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_classes_without_images_have_a_weight():
    with pytest.raises(ConfigError, match="gives no class with training images a weight: raise one of them"):
        class_weights((0.0, 0.0, 0.0, 1.0), LABELS, [*CLASSES, "d"])


# ---- the loss ----


def batch(step, n=37):
    return normal(n, 1, 8, 8, seed=step), (np.arange(n) * 7 + step) % 10


def weighted_net(smoothing=0.0, weights=WEIGHTS):
    """Return a net whose derivative has no jumps, at which roundings would take two ways."""
    net = Net([Flatten(), Dense(40), SiLU(), Dense(10)], (1, 8, 8), seed=5)
    net.shared.class_weights = np.array(weights, np.float32)
    net.label_smoothing = smoothing
    return net


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_ten_steps_in_lock_step_with_pytorch(smoothing):
    """CrossEntropyLoss(weight): the mean is the weighted sum divided by the sum of the samples' weights."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    net, nn = weighted_net(smoothing), torch.nn
    theirs = nn.Sequential(nn.Flatten(), nn.Linear(64, 40), nn.SiLU(), nn.Linear(40, 10))
    theirs.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in net.parameters.items()})
    loss = nn.CrossEntropyLoss(torch.tensor(WEIGHTS), label_smoothing=smoothing)
    ours, optimizer = (
        SGD(net, Config(momentum=MOMENTUM)),
        torch.optim.SGD(theirs.parameters(), RATE, MOMENTUM),
    )
    begin = net.weights.copy()
    for step in range(STEPS):
        images, labels = batch(step)
        net.start(3)
        for start in range(0, len(images), 16):
            net.train_group([Block.of(images, labels, np.arange(start, min(start + 16, len(images))))])
        found = net.counters.loss * 2.0**-36 / net.total_weight(len(images))
        ours.update(net.total_weight(len(images)), RATE, step + 1)
        optimizer.zero_grad()
        wanted = loss(theirs(torch.from_numpy(images)), torch.from_numpy(labels))
        wanted.backward()
        optimizer.step()
        assert found == pytest.approx(wanted.item(), rel=1e-5)
        flat = np.concatenate([each.detach().numpy().ravel() for each in theirs.parameters()])
        assert np.linalg.norm(net.weights - flat) <= 1e-6 * np.linalg.norm(flat)
    assert np.linalg.norm(net.weights - begin) > 1e-2 * np.linalg.norm(flat)  # and they have moved


def test_equal_weights_give_the_gradients_of_no_weights():
    images, labels = batch(0)
    plain = weighted_net()
    plain.shared.class_weights = None
    loss, gradients = plain.loss_and_gradients(images, labels)
    same, others = weighted_net(weights=[1.0] * 10).loss_and_gradients(images, labels)
    assert same == pytest.approx(loss, rel=1e-6)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(others[name], gradient, atol=1e-6 * np.abs(gradient).max())


def test_a_batch_without_weight_changes_nothing():
    """PyTorch's mean is 0 / 0 then."""
    images, labels = batch(0)
    loss, gradients = weighted_net().loss_and_gradients(images, np.full_like(labels, 3))
    assert loss == 0
    assert not any(gradient.any() for gradient in gradients.values())


# ---- training ----


@pytest.fixture(scope="module")
def rare(tmp_path_factory):
    """A file with 6 zeros among 400 other digits, in the order of the digits that come with distcnn."""
    path = tmp_path_factory.mktemp("rare") / "rare.h5"
    with h5py.File(DIGITS) as digits, h5py.File(path, "w") as file:
        labels = digits["train/labels"][()]
        kept = np.sort(np.r_[np.flatnonzero(labels == 0)[:6], np.flatnonzero(labels)[:400]])
        for split, rows in (("train", kept), ("test", slice(None))):
            file[f"{split}/images"] = digits[f"{split}/images"][rows]
            file[f"{split}/labels"] = (digits[f"{split}/labels"][rows] == 0).astype(np.int64)
        file.attrs["classes"] = ["other", "zero"]
    return path


def recalls(trainer):
    """Return the fraction of right answers among the test images of each class."""
    test = trainer.dataset.test
    answers = trainer.net.predict(test.images).argmax(axis=1)
    return [np.mean(answers[test.labels == k] == k) for k in range(2)]


def test_a_class_of_6_in_406_is_found(rare):
    options = [
        "--data",
        str(rare),
        "--model",
        "convolutional",
        "--batch-size",
        "32",
        "--learning-rate",
        "0.01",
    ]
    options += ["--epochs", "3"]
    without, balanced = (
        train_to(trainer_of([*options, *more]), 39) for more in ((), ("--class-weight", "balanced"))
    )
    assert recalls(without) == [1, 0]
    other, zero = recalls(balanced)
    assert other > 0.95
    assert zero > 0.8


def test_a_wrong_count_ends_the_command_in_one_line(here):
    done = here("distcnn.train", "--class-weight", "1,2")
    assert done.returncode == 2
    assert done.stderr == (
        "distcnn: error: --class-weight has 2 weights, but the data have 10 classes (0, 1, 2, ...): give one for each\n"
    )
