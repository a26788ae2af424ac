"""Estimators in scikit-learn's conventions: images in all forms, and the bits of `distcnn.fit`."""

import copy
import inspect
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed: it belongs to the extra `test`")

from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import distcnn
from distcnn.config.settings import SETTINGS, option
from distcnn.errors import ConfigError
from distcnn.layers import Conv2D, Dense, Flatten, ReLU
from distcnn.sklearn import CNNClassifier, CNNRegressor
from distcnn.sklearn.estimator import OWN


def net(input_shape, outputs):
    """Return the layers of a small net for images of any size."""
    return [Conv2D(8, (1, 3), padding=(0, 1)), ReLU(), Flatten(), Dense(outputs)]


def classifier(**parameters):
    return CNNClassifier(net, **{"epochs": 3, "batch_size": 16, "learning_rate": 0.1, **parameters})


def images(n=48, c=1, h=6, w=7):
    """Return bright and dark images (n, c, h, w), and 1 for each bright one, else 0."""
    bright = np.arange(n) % 2
    pixels = np.random.default_rng(0).random((n, c, h, w), np.float32)
    return pixels + bright[:, None, None, None], bright


@pytest.mark.parametrize("kind", [CNNClassifier, CNNRegressor])
def test_defaults_are_those_of_the_command_line(kind):
    parameters = inspect.signature(kind).parameters
    for name in set(parameters) - OWN:
        assert parameters[name].default == SETTINGS[name].default, name
    assert parameters["random_state"].default == SETTINGS["seed"].default


# ---- images ----


def test_images_in_all_forms_give_the_same_bits():
    pixels, labels = images()
    n, _, h, w = pixels.shape
    rows = pixels.reshape(n, -1)
    forms = [
        (pixels[:, 0], {}),
        (pixels, {}),
        (pixels.transpose(0, 2, 3, 1), {"layout": "NHWC"}),
        (pixels[:, 0].transpose(0, 2, 1), {"layout": "NWH"}),
        (rows, {"image_shape": (h, w)}),
        (rows, {"image_shape": (1, h, -1)}),
        (rows, {"image_shape": (h, w, 1), "layout": "NHWC"}),
        (rows, {"layout": f"NHW:{h}x{w}"}),
        (rows.astype(np.float64).tolist(), {"image_shape": (h, w)}),
    ]
    digests, probabilities = set(), set()
    for X, parameters in forms:
        fitted = classifier(**parameters).fit(X, labels)
        assert fitted.net_.input_shape == (1, h, w)
        assert fitted.n_features_in_ == h * w
        digests.add(fitted.digest_)
        probabilities.add(fitted.predict_proba(X).tobytes())
    assert len(digests) == len(probabilities) == 1


def test_color_images_and_bytes():
    pixels, labels = images(c=3)
    pixels = (pixels * 100).astype(np.uint8)
    first, last = classifier().fit(pixels, labels), classifier().fit(pixels.transpose(0, 2, 3, 1), labels)
    assert first.digest_ == last.digest_
    numbers = classifier().fit(pixels.astype(np.int64), labels)
    assert np.array_equal(numbers.predict(pixels), first.predict(pixels.astype(float)))
    assert first.score(pixels, labels) > 0.9


def test_images_are_predicted_in_the_form_of_the_training_or_in_rows():
    pixels, labels = images()
    fitted = classifier().fit(pixels[:, 0], labels)
    expected = fitted.predict_proba(pixels[:, 0])
    assert np.array_equal(fitted.predict_proba(pixels.reshape(len(pixels), -1)), expected)
    with pytest.raises(
        ValueError, match=r"images of shape \(7, 6\), but CNNClassifier was fitted with \(6, 7\)"
    ):
        fitted.predict(pixels[:, 0].transpose(0, 2, 1))
    with pytest.raises(ValueError, match="X has 41 features, but CNNClassifier is expecting 42 features"):
        fitted.predict(pixels.reshape(len(pixels), -1)[:, 1:])


OPEN = {  # shape of X, parameters: what is said
    ((8, 36), ()): r"if these are images, say layout='NHW:6x6'",
    ((8, 13, 9, 10), ()): r"is open: say layout='NHWC' .* or layout='NCHW'",
    (
        (8, 35),
        (("image_shape", (6, 6)),),
    ): r"image_shape \(6, 6\) does not fit X, whose samples have shape \(35,\)",
    ((8, 35), (("image_shape", (-1, -1)),)): "image_shape .* does not fit X",
    ((8, 35), (("image_shape", "5x7"),)): "image_shape '5x7' does not fit X",
    ((8, 6, 4), (("image_shape", (4, 6)),)): r"image_shape \(4, 6\) does not fit X, .* shape \(6, 4\)",
    ((8, 6, 4), (("layout", "NCHW"),)): "layout='NCHW' does not fit: wanted a letter for each of 3 axes",
    ((8, 6, 4), (("layout", "XYZ"),)): "layout: 'XYZ' is not valid; wanted NCHW",
    ((6, 4, 8), (("layout", "HWN"),)): "layout HWN does not begin with N",
    ((8, 2, 3, 4, 5), ()): "volumes or sequences of images",
}


@pytest.mark.parametrize(("shape", "parameters"), OPEN)
def test_what_is_open_or_wrong_is_told_in_one_line(shape, parameters):
    with pytest.raises(ValueError, match=OPEN[shape, parameters]) as caught:
        classifier(**dict(parameters)).fit(np.zeros(shape), np.arange(shape[0]) % 2)
    assert "\n" not in str(caught.value)
    assert "--" not in str(caught.value)


def test_what_the_messages_advise_works():
    pixels, labels = images(h=6, w=6)
    rows = pixels.reshape(len(pixels), -1)
    assert classifier(layout="NHW:6x6").fit(rows, labels).digest_ == classifier().fit(pixels, labels).digest_
    bands = np.repeat(pixels, 13, axis=1)
    assert classifier(layout="NCHW").fit(bands, labels).net_.input_shape == (13, 6, 6)


# ---- training ----


def test_the_bits_are_those_of_fit_and_of_the_command_line(here):
    pixels, labels = images()
    fitted = classifier(random_state=7, settings={"label_smoothing": 0.1}).fit(pixels, labels)
    settings = {"epochs": 3, "batch_size": 16, "learning_rate": 0.1, "seed": 7, "label_smoothing": 0.1}
    assert distcnn.fit(net, data=(pixels, labels), **settings).digest == fitted.digest_
    with h5py.File("data.h5", "w") as file:
        file["train/images"], file["train/labels"] = pixels, labels
    Path("net.txt").write_text("".join(f"{layer}\n" for layer in net((1, 6, 7), 2)))
    words = [word for name, value in settings.items() for word in (option(name), value)]
    done = here("distcnn.train", "--data", "data.h5", "--model", "net.txt", *words)
    assert done.stdout.splitlines()[-1] == f"weights_sha256 {fitted.digest_}", done.stderr
    assert [each["epoch"] for each in fitted.history_] == [1, 2, 3]
    assert fitted.net_.digest == fitted.digest_


def test_classes_of_any_kind():
    pixels, bright = images()
    for names in (np.array(["day", "night"]), np.array([-1, 1]), np.array([True, False]), [3.0, 5.0]):
        labels = np.asarray(names)[bright]
        fitted = classifier(epochs=10).fit(pixels, labels)
        assert fitted.classes_.tolist() == sorted(names)
        assert fitted.score(pixels, labels) > 0.9
        probabilities = fitted.predict_proba(pixels)
        assert probabilities.shape == (48, 2)
        assert np.allclose(probabilities.sum(axis=1), 1)
        assert np.array_equal(fitted.classes_[probabilities.argmax(axis=1)], fitted.predict(pixels))


@pytest.mark.parametrize("kind", [np.int64, bool, float, csr_matrix])
def test_several_labels_an_image(kind):
    pixels, bright = images()
    labels = np.stack([bright, 1 - bright, np.zeros_like(bright), pixels[:, 0, 0, 0] > 1], axis=1)
    y = kind(labels) if kind is csr_matrix else labels.astype(kind)
    fitted = classifier(epochs=20).fit(pixels, y)
    assert fitted.net_.task.name == "multilabel"
    assert fitted.classes_.tolist() == [0, 1, 2, 3]
    found, probabilities = fitted.predict(pixels), fitted.predict_proba(pixels)
    assert (found.shape, found.dtype) == (labels.shape, np.int64)
    assert np.array_equal(found, probabilities > 0.5)
    assert np.array_equal(found[:, :3], labels[:, :3])
    score = (found == labels).all(axis=1).mean()  # as of MLPClassifier
    assert fitted.score(pixels, labels) == score
    run = distcnn.fit(
        net, data=(pixels, labels), task="multilabel", epochs=20, batch_size=16, learning_rate=0.1
    )
    assert run.digest == fitted.digest_


def test_several_classes_an_image_are_refused_and_the_remedies_work():
    pixels, bright = images()
    several = np.stack([bright, 2 * bright], axis=1)
    with pytest.raises(
        ValueError, match=r"y has rows of 2 values .*MultiOutputClassifier, numbers for CNNRegressor"
    ):
        classifier().fit(pixels, several)
    assert MultiOutputClassifier(classifier()).fit(pixels.reshape(48, 1, 6, 7), several).predict(
        pixels
    ).shape == (48, 2)
    assert CNNRegressor(net, epochs=1, batch_size=16).fit(pixels, several).predict(pixels).shape == (48, 2)


def test_the_seed():
    pixels, labels = images()

    def digest(state):
        return classifier(random_state=state, epochs=1).fit(pixels, labels).digest_

    assert digest(0) == digest(np.int64(0)) == classifier(epochs=1).fit(pixels, labels).digest_
    assert len({digest(0), digest(1), digest(np.random.RandomState(0))}) == 3
    assert digest(np.random.RandomState(0)) == digest(np.random.RandomState(0))
    np.random.seed(3)  # noqa: NPY002
    first, second = digest(None), digest(None)
    np.random.seed(3)  # noqa: NPY002
    assert (digest(None), digest(None)) == (first, second)
    assert first != second


MISTAKES = {
    "twice": (
        {"settings": {"epochs": 3}},
        "settings has 'epochs', which CNNClassifier sets itself: leave it out",
    ),
    "seed": ({"settings": {"seed": 3}}, "settings has 'seed', which CNNClassifier sets itself"),
    "unknown": (
        {"settings": {"learning_rat": 1}},
        "unknown setting 'learning_rat', did you mean learning_rate",
    ),
    "value": ({"optimizer": "adamm"}, "did you mean adamw"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_in_parameters(name):
    parameters, message = MISTAKES[name]
    with pytest.raises(ConfigError, match=message):
        classifier(**parameters).fit(*images())


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="y has 1 class, 'a'; wanted two or more"):
        classifier().fit(images()[0], ["a"] * 48)


# ---- with the rest of scikit-learn ----


def test_pipeline_search_and_clone():
    pixels, labels = images()
    rows = pixels.reshape(len(pixels), -1)
    model = make_pipeline(StandardScaler(), classifier(image_shape=(6, 7)))
    search = GridSearchCV(model, {"cnnclassifier__learning_rate": [0.0, 0.1]}, cv=3).fit(rows, labels)
    assert search.best_params_ == {"cnnclassifier__learning_rate": 0.1}
    assert search.score(rows, labels) > 0.9
    best = search.best_estimator_
    again = clone(best).fit(rows, labels)
    assert again[-1].digest_ == best[-1].digest_
    with pytest.raises(NotFittedError):
        clone(best).predict(rows)
    half = make_pipeline(FunctionTransformer(lambda X: X[:, :, ::2]), classifier())
    assert cross_val_score(half, pixels[:, 0], labels, cv=3).mean() > 0.9
    assert half.set_params(cnnclassifier__model="lenet5").get_params()["cnnclassifier__model"] == "lenet5"


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_copies_and_pickles_predict_the_same(copied):
    pixels, labels = images()
    fitted = classifier(epochs=1).fit(pixels, labels)
    again = copied(fitted)
    assert again.digest_ == again.net_.digest == fitted.digest_
    assert np.array_equal(again.predict_proba(pixels), fitted.predict_proba(pixels))
    regressor = CNNRegressor(net, epochs=1, batch_size=16).fit(pixels, 1e4 * pixels[:, 0, 0, 0])
    assert np.array_equal(copied(regressor).predict(pixels), regressor.predict(pixels))


def test_progress_is_shown_only_if_asked_for(capfd):
    classifier(epochs=1).fit(*images())
    assert capfd.readouterr() == ("", "")
    classifier(epochs=1, verbose=1).fit(*images())
    shown = capfd.readouterr()
    assert "epoch" in shown.out + shown.err


@pytest.mark.mpi(ranks=(2,))
def test_ranks_train_together_and_predict_alone(comm):
    pixels, labels = images()
    fitted = classifier(epochs=2, batch_size=32).fit(pixels, labels)
    found = fitted.digest_, fitted.predict_proba(pixels).tobytes()
    assert set(comm.allgather(found)) == {found}
    assert fitted.history_[-1]["ranks"] == comm.size
    if comm.rank == 0:
        assert fitted.score(pixels, labels) > 0.5  # no other rank takes part


# ---- regression ----


def test_regression_in_the_unit_of_the_targets():
    pixels, _ = images()
    sums = pixels.sum(axis=(1, 2, 3))
    for y in (1e4 * sums, (1e4 * sums)[:, None], np.stack([1e4 * sums, 1e-3 * pixels[:, 0, 0, 0]], axis=1)):
        fitted = CNNRegressor(net, epochs=30, batch_size=16, learning_rate=0.01).fit(pixels, y)
        found = fitted.predict(pixels)
        assert found.shape == y.shape
        assert found.dtype == np.float64
        assert fitted.score(pixels, y) > 0.9


# ---- without scikit-learn ----


def test_a_missing_scikit_learn_is_told(run):
    hidden = "import sys; sys.modules['sklearn'] = None; import distcnn, distcnn.sklearn"
    done = run("python", "-c", hidden)
    assert done.returncode == 1
    wanted = "scikit-learn is not installed, which distcnn.sklearn needs: pip install 'distcnn[sklearn]'"
    assert done.stderr.splitlines()[-1] == f"ImportError: {wanted}"
