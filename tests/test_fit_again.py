"""A net that is trained again: what it was trained with stays, and what contradicts that is told."""

import pickle
from functools import partial

import numpy as np
import pytest

import distcnn
from distcnn import Net
from distcnn.errors import ConfigError, DataError
from distcnn.layers import Dense, Flatten
from distcnn.run.curves import Curves

SHORT = {"epochs": 2, "batch_size": 16, "seed": 0, "learning_rate": 0.01}
QUIET = SHORT | {"progress": "none"}
SHAPE = (1, 6, 6)
RANDOM = np.random.default_rng(0)
X = RANDOM.random((48, 6, 6), np.float32)
SUMS = X.sum(axis=(1, 2)).astype(np.float32)
MEASURES = np.stack([5 + SUMS, 1e4 * X[:, 0, 0]], 1)
BRIGHT = np.array(["dark", "light"])[(SUMS > np.median(SUMS)).astype(int)]

net_of = partial(Net, [Flatten(), Dense(2)], SHAPE)


def outputs(net, images=X):
    """Return what a net says of images, in the unit of its targets."""
    return net.targets.predictions(net.predict(images[:, None]))


def fitted(task="classify", y=BRIGHT, **settings):
    """Return a net that is trained."""
    net = net_of(task=task)
    net.fit(X, y, **{**QUIET, **settings})
    return net


# ---- targets ----


def test_targets_stay_standardized_as_the_net_has_learned_them(capsys):
    net = fitted("regress", MEASURES)
    before, targets = outputs(net), net.targets.array.copy()
    np.testing.assert_allclose(targets, [MEASURES.mean(0), MEASURES.std(0)], rtol=1e-5)
    capsys.readouterr()
    net.fit(X[:16], MEASURES[:16] + np.array([0, 3e4]), **SHORT | {"learning_rate": 0.0})
    np.testing.assert_array_equal(outputs(net), before)
    np.testing.assert_array_equal(net.targets.array, targets)
    said = capsys.readouterr().out
    assert (
        "targets stay standardized as the net has learned them, far from these data: target 1 has mean "
        in said
    )
    net.fit(X, MEASURES, **SHORT)
    assert "far from these data" not in capsys.readouterr().out
    for copy in (pickle.loads(pickle.dumps(net)), net):
        copy.fit(X, MEASURES + 7, **QUIET)
        np.testing.assert_array_equal(copy.targets.array, targets)


def test_targets_of_mean_0_and_deviation_1_stay_too():
    signs = np.where(np.arange(48) % 2, 1.0, -1.0)[:, None] * [1.0, -1.0]
    net = fitted("regress", signs)
    np.testing.assert_array_equal(net.targets.array, [[0, 0], [1, 1]])
    net.fit(X, 3 * signs + 1, **QUIET)
    np.testing.assert_array_equal(net.targets.array, [[0, 0], [1, 1]])
    with pytest.raises(
        DataError,
        match=r"other targets .* target 0 has mean 0 and standard deviation 1 there, mean 1e.04 and",
    ):
        net.fit(X, 1e4 + signs, **QUIET)
    fitted("regress", 1e4 + signs)  # the remedy


def test_a_new_last_layer_learns_targets_anew():
    net = fitted("regress", MEASURES)
    net.add(Dense(2))
    assert not net.targets.are_set
    net.fit(X, 10 * MEASURES, **QUIET)
    np.testing.assert_allclose(
        net.targets.array, 10 * np.array([MEASURES.mean(0), MEASURES.std(0)]), rtol=1e-5
    )


# ---- what else a net knows ----


def test_label_smoothing_stays_until_another_is_given():
    plain, smooth, given = net_of(), net_of(), net_of()
    smooth.label_smoothing = 0.2
    digests = []
    for net, settings in (
        (plain, {}),
        (smooth, {"label_smoothing": None}),
        (given, {"label_smoothing": 0.2}),
    ):
        net.fit(X, BRIGHT, **QUIET, **settings)
        digests.append(net.digest)
    assert digests[0] != digests[1] == digests[2]
    assert (smooth.label_smoothing, given.label_smoothing) == (0.2, 0.2)
    run = distcnn.fit([Flatten(), Dense(2)], data=(X, BRIGHT), label_smoothing=0.2, **QUIET)
    for net in (run.net, given, smooth):
        net.fit(X, BRIGHT, **QUIET)
    assert run.net.digest == given.digest == smooth.digest
    smooth.fit(X, BRIGHT, label_smoothing=0.0, **QUIET)
    assert smooth.label_smoothing == 0.0


def test_what_a_net_has_is_handed_to_training():
    """Whatever the constructor takes besides layers and their shape."""
    knows = {"seed": 3, "conv": "direct", "norm_group": 2, "task": "multilabel"}
    net = net_of(**knows)
    assert net._settings == knows | {"label_smoothing": 0.0}


def test_pixels_must_mean_what_they_have_meant():
    net = fitted()
    with pytest.raises(DataError, match="the images are of uint8, but the net was trained on float32"):
        net.fit((255 * X).astype(np.uint8), BRIGHT, **QUIET)
    net.fit(((255 * X).astype(np.uint8) / 255).astype(np.float32), BRIGHT, **QUIET)


def test_height_and_width_are_not_taken_for_each_other():
    net = fitted(layout="NWH")
    turned = net.digest
    with pytest.raises(DataError, match="taken for NHW, but the net was trained on NWH: say"):
        net.fit(X, BRIGHT, **QUIET)
    assert net.digest == turned
    for layout in ("NWH", "NHW"):
        net.fit(X, BRIGHT, layout=layout, **QUIET)
        assert net.layout == layout


def test_another_normalization_than_that_of_the_net_is_refused():
    for mine, other, found in (
        ("channel", "none", "normalizes its images already"),
        ("none", "channel", "does not"),
    ):
        net = fitted(normalize=mine)
        scale = net.scale.copy()
        with pytest.raises(ConfigError, match=found):
            net.fit(X, BRIGHT, normalize=other, **QUIET)
        net.fit(X + 1, BRIGHT, normalize=mine, **QUIET)
        net.fit(X + 1, BRIGHT, **QUIET)
        np.testing.assert_array_equal(net.scale, scale)


def test_other_weights_are_refused():
    with pytest.raises(ConfigError, match=r"Net\.fit takes no init_from, as it trains this net as it is"):
        net_of().fit(X, BRIGHT, init_from="run", **QUIET)


def test_data_beside_x_are_refused():
    with pytest.raises(ConfigError, match="takes no data beside x: give their path as x"):
        net_of().fit(X, BRIGHT, data="other.h5", **QUIET)


def test_other_classes_are_told(capsys):
    net = fitted()
    net.fit(X, BRIGHT, **SHORT)
    assert "goes on from there" not in capsys.readouterr().out
    net.fit(X, np.where(BRIGHT == "dark", "night", "day"), **SHORT)
    wanted = "was trained on 2 classes (dark, light), and goes on from there with 2 classes (day, night)"
    assert wanted in capsys.readouterr().out
    net.add(Dense(2))
    assert net.classes is None


# ---- from a file ----


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Work in an empty folder; draw nothing, which takes long."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Curves, "draw", lambda self: None)


def test_a_run_that_begins_with_measures_of_another_predicts_the_same(folder, capsys):
    train = partial(distcnn.fit, [Flatten(), Dense(2)], task="regress", **SHORT)
    first = train(data=(X, MEASURES), out="first")
    capsys.readouterr()
    again = train(data=(X[:16], MEASURES[:16]), init_from="first", **{"learning_rate": 0.0})
    np.testing.assert_array_equal(outputs(again.net), outputs(first.net))
    said = capsys.readouterr().out
    assert "initial weights: 2 of 2 arrays from" in said
    assert ", images normalized as there, targets standardized as there\n" in said
    train(data=(X, MEASURES * [1, 5]), init_from="first")
    assert "far from these data: target 1 has mean " in capsys.readouterr().out
    with pytest.raises(
        DataError, match=r"other targets than these: target 1 has mean .* here: bring them to the same unit"
    ):
        train(data=(X, MEASURES * [1, 1e4]), init_from="first")


def test_a_head_for_another_task_starts_anew(folder, capsys):
    train = partial(distcnn.fit, [Flatten(), Dense(4), Dense(2)], **SHORT)
    train(data=(X, BRIGHT == "dark"), out="first")
    capsys.readouterr()
    measures = train(data=(X, MEASURES), init_from="first")
    assert "; 2.weight, 2.bias start anew: trained for classify there\n" in capsys.readouterr().out
    np.testing.assert_allclose(measures.net.targets.array[0], MEASURES.mean(0), rtol=1e-5)


def test_messages_on_other_images_speak_of_targets():
    net = fitted("regress", MEASURES)
    wanted = r"\(1, 5, 6\) of 2 targets \(0, 1\), but the net was trained on \(1, 6, 6\) and 2 targets"
    with pytest.raises(DataError, match=wanted):
        net.evaluate(X[:, :5], MEASURES)
