"""Messages speak the language of the caller: from Python they name arguments, which work when they are followed."""

import os
import re
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest

import distcnn
from distcnn import Net
from distcnn.config.settings import SETTINGS, option
from distcnn.errors import DistcnnError
from distcnn.job.wording import as_keyword, of_a_net, worded
from distcnn.layers import Conv2D, Dense, Flatten
from distcnn.run.curves import Curves
from tests.helpers.datasets import write

RANDOM = np.random.default_rng(0)
X = RANDOM.random((24, 6, 6), np.float32)
Y = np.arange(24) % 3
ROWS = np.eye(3, dtype=int)[Y]
MEASURES = X.sum(axis=(1, 2))
SHORT = {"max_steps": 1, "epochs": 1, "batch_size": 16, "progress": "none"}


def net(input_shape, outputs):
    return [Flatten(), Dense(outputs)]


def fit(**arguments):
    return distcnn.fit(**{"model": net, "data": (X, Y), **SHORT, **arguments})


@dataclass
class Row:
    """A mistake in a call, and its remedies.

    fails: the arguments of the call that is refused.
    finds: a regular expression; its groups are what the message tells to type.
    works: for each remedy the arguments to add to those of the call, or to leave out if they are None; if there are
        none, those that the group says, in Python.
    before: the arguments of a call before that.
    """

    fails: dict
    finds: str
    works: list[dict] = field(default_factory=list)
    before: dict | None = None


BANDS = np.repeat(X[:, None], 13, axis=1)
VALIDATION = {"data": (X, Y), "patience": 3, "epochs": 2, "max_steps": None}
ROWS_OF = {
    "measures for classes": Row({"data": (X, MEASURES), "task": "classify"}, r"say (task='regress')"),
    "rows of numbers": Row({"data": (X, 3 * ROWS)}, r"say (task='regress') to predict them all"),
    "rows with one 1": Row(
        {"data": (X, ROWS)},
        r"say (task='multilabel') if an image .*; (task='classify') if each is of one class",
    ),
    "rows with one 1 or none": Row({"data": (X, ROWS * (X[:, :1, 0] > 0.5))}, r"say (task='multilabel') if"),
    "open axes": Row({"data": (BANDS, Y)}, r"say (layout='NHWC') \(.*\) or (layout='NCHW') \("),
    "flattened images": Row({"data": (X.reshape(24, -1), Y)}, r"say (layout='NHW:6x6')"),
    "flattened images of other sizes": Row(
        {"data": (np.repeat(X.reshape(24, -1)[:, :35], 2, 1), Y)},
        r"say (layout='NHW:HxW') with the height and width of 70 pixels",
        [{"layout": "NHW:7x10"}],
    ),
    "a mapping without classes": Row(
        {"data": (X, MEASURES), "map_labels": True, "task": "regress"},
        r"map_labels=True does nothing with task='regress': (leave it out)",
        [{"map_labels": None}],
    ),
    "a setting without effect": Row(
        {"gamma": 0.5, "step_size": 1},
        r"step_size= does nothing with schedule='cosine': (leave it out), or use (schedule='step')",
        [{"gamma": None, "step_size": None}, {"schedule": "step"}],
    ),
    "a setting of other optimizers": Row(
        {"beta2": 0.9},
        r"(leave it out), or use (optimizer='adamw')",
        [{"beta2": None}, {"optimizer": "adamw"}],
    ),
    "a setting of other tasks": Row(
        {"data": (X, MEASURES), "label_smoothing": 0.1},
        r"label_smoothing= does nothing with task='regress', as the data show: (leave it out)",
        [{"label_smoothing": None}],
    ),
    "steps without a size": Row(
        {"schedule": "step"},
        r"needs either (step_size=) or (milestones=)",
        [{"step_size": 1}, {"milestones": [1]}],
    ),
    "Nesterov without momentum": Row(
        {"optimizer": "nesterov", "momentum": 0},
        r"optimizer='nesterov' with momentum=0 is .* raise (momentum=), or use (sgd)",
        [{"momentum": 0.9}, {"optimizer": "sgd"}],
    ),
    "nothing that decays": Row(
        {"decay": "weights"},
        r"decay='weights': nothing decays without (weight_decay=)",
        [{"weight_decay": 0.1}],
    ),
    "a large group": Row(
        {"norm_group": 2},
        r"norm_group=2: a batch of 16 .*; wanted at most (1), or global",
        [{"norm_group": 1}],
    ),
    "a group without a norm": Row(
        {"norm_group": "global"},
        r"norm_group='global' does nothing with model='net', which .*: (leave it out)",
        [{"norm_group": None}],
    ),
    "layers without a norm": Row(
        {"norm_group": "global", "model": net(0, 3)},
        r"norm_group='global' does nothing with this model, which .*: (leave it out)",
        [{"norm_group": None}],
    ),
    "no validation images": Row(
        VALIDATION,
        r"patience=3 needs validation images: add (validation_split=0.1), or name them \((validation=)\)",
        [{"validation_split": 0.1}, {"validation": (X, Y)}],
    ),
    "frozen layers without parameters": Row(
        {"freeze": 1},
        r"freeze=1: these .*; (freeze=2) freezes the first",
        [{"freeze": 2, "model": [*net(0, 3), Dense(3)]}],
    ),
    "a wrong number of weights": Row(
        {"class_weight": [1, 2]},
        r"class_weight= has 2 weights, .* (give one for each)",
        [{"class_weight": [1, 2, 3]}],
    ),
    "a folder with a run": Row(
        {"out": "a"},
        r"a: holds a run; continue it with (resume='auto'), or choose another folder \((out=)\)",
        [{"resume": "auto"}, {"out": "b"}],
        {"out": "a"},
    ),
    "another value than the run's": Row(
        {"out": "a", "resume": "auto", "seed": 3},
        r"seed=3: the run has 0, .*; leave the option (out), or start a new run in another folder \((out=)\)",
        [{"seed": None}, {"out": "b"}],
        {"out": "a"},
    ),
    "a run of other data": Row(
        {"out": "a", "resume": "auto", "data": (X + 1, Y)},
        r"name its data \((data=)\), or start a new run in another folder \((out=)\)",
        [{"data": (X, Y)}, {"out": "b"}],
        {"out": "a"},
    ),
    "weights of another network": Row(
        {"init_from": "a", "model": [Flatten(), Dense(4), Dense(3)]},
        r"use (the model= and) the image size",
        [{"model": net}],
        {"out": "a"},
    ),
    "a rate that is too high": Row(
        {"learning_rate": 1e30, "max_steps": None, "epochs": 3, "warmup_epochs": 0, "momentum": 0},
        r"try a lower learning rate \((learning_rate=)\)",
        [{"learning_rate": 0.01}],
    ),
    "a test split beside that of a file": Row(
        {"data": "data.h5", "test_split": 0.25},
        r"leave (test_split=) out, or name the training images alone, with (images=) and labels=",
        [{"test_split": None}, {"images": "/train/images", "labels": "/train/labels"}],
    ),
    "rows to split in a stream": Row(
        {"test_split": 0.25, "data_mode": "stream"},
        r"in place of test_split=, name .* (images='/x_train\[0:18\]' labels=.* test_images=.* test_labels=.*)",
        [
            {
                "test_split": None,
                "images": "/x_train[0:18]",
                "labels": "/y_train[0:18]",
                "test_images": "/x_train[18:24]",
                "test_labels": "/y_train[18:24]",
            }
        ],
    ),
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Work in an empty folder; draw nothing, which takes long."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Curves, "draw", lambda self: None)


def changed(arguments, changes):
    return {name: value for name, value in (arguments | changes).items() if value is not None}


def said(call, **arguments):
    """Make a call that must be refused in one line without options, and return the line."""
    with pytest.raises(DistcnnError) as caught:
        call(**arguments)
    line = str(caught.value)
    assert "\n" not in line
    assert not re.search(r"(?<!\w)--[a-z]", line), line
    return line


@pytest.mark.parametrize("name", ROWS_OF)
def test_a_remedy_of_fit_works(name):
    row = ROWS_OF[name]
    write("data.h5")
    if row.before:
        fit(**row.before)
    line = said(fit, **row.fails)
    found = re.search(row.finds, line)
    assert found, line
    for remedy in row.works or [eval(f"dict({text})") for text in found.groups()]:
        assert fit(**changed(row.fails, remedy)).digest


def test_a_finished_run_goes_on_with_more_epochs(capsys):
    train = partial(fit, out="a", resume="auto", max_steps=None)
    first = train()
    assert train().digest == first.digest
    assert "to train on, resume it with a higher epochs=\n" in capsys.readouterr().err
    assert train(epochs=2).digest != first.digest


def test_lines_that_are_shown_name_arguments(capsys):
    fit(data=(X, Y + 1), progress="lines")
    assert (
        "do the labels count from 1? map_labels=True makes a class of each value" in capsys.readouterr().out
    )
    fit(data=(X, Y + 1), progress="lines", map_labels=True)
    assert "count from 1?" not in capsys.readouterr().out


# ---- a net ----


def test_remedies_of_a_net():
    made = partial(Net, net(0, 3), (1, 6, 6))
    train = partial(made().fit, X, **SHORT)
    assert "say Net(..., task='multilabel')" in said(train, y=ROWS[:, ::-1] | ROWS)
    made(task="multilabel").fit(X, ROWS[:, ::-1] | ROWS, **SHORT)
    group = Net([Conv2D(2, 3), *net(0, 3)], (1, 6, 6), norm_group=2)
    assert said(partial(group.fit, X, Y), **SHORT).startswith(
        "Net(..., norm_group=2): a batch of 16 has 1 block"
    )
    bands = Net([Flatten(), Dense(3)], (13, 6, 6))
    assert "say layout='NHWC' (6 channels" in said(bands.fit, x=BANDS, y=Y, **SHORT)
    bands.fit(BANDS, Y, layout="NCHW", **SHORT)
    unknown = Net([Flatten(), Dense(3)], (6, 6, 13))
    assert "say layout='NHWC' (6 channels" in said(unknown.evaluate, x=BANDS, y=Y)
    unknown.evaluate(BANDS.transpose(0, 2, 3, 1), Y, layout="NCHW")


def test_remedies_for_files_that_a_net_evaluates():
    write("data.h5", {"test/images": None, "test/labels": None})
    trained = fit(data="data.h5").net
    line = said(trained.evaluate, x="data.h5")
    assert re.search("choose another split=, or name the images with images=", line), line
    found = trained.evaluate("data.h5", split="train")
    named = {"images": "/train/images", "labels": "/train/labels"}
    assert trained.evaluate("data.h5", **named) == found
    assert "split is 'training'; wanted train" in said(trained.evaluate, x="data.h5", split="training")
    assert "Net.evaluate takes no epochs; it takes images, " in said(trained.evaluate, x="data.h5", epochs=3)
    os.remove("data.h5")


# ---- scikit-learn ----


def test_remedies_of_an_estimator():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: it belongs to the extra `test`")
    from distcnn.sklearn import CNNClassifier, CNNRegressor

    def train(kind, y, **parameters):
        return kind(net, **{"epochs": 1, "batch_size": 16, **parameters}).fit(X, y)

    wanted = (
        "settings={'gamma': ...} does nothing with schedule='cosine': leave it out, or use schedule='step'"
    )
    assert wanted in said(train, kind=CNNClassifier, y=Y, settings={"gamma": 0.5, "step_size": 1}).replace(
        "step_size", "gamma"
    )
    train(CNNClassifier, Y, settings={"gamma": 0.5, "step_size": 1}, schedule="step")
    line = said(train, kind=CNNRegressor, y=MEASURES, settings={"label_smoothing": 0.1})
    assert line.endswith("does nothing with CNNRegressor: leave it out, or use CNNClassifier")
    train(CNNClassifier, Y, settings={"label_smoothing": 0.1})
    line = said(train, kind=CNNClassifier, y=Y, settings={"patience": 3})
    wanted = "add settings={'validation_split': 0.1}, or name them (settings={'validation': ...})"
    assert line == f"settings={{'patience': 3}} needs validation images: {wanted}"
    for more in ({"validation_split": 0.1}, {"validation": (X[:, None], Y)}):
        train(CNNClassifier, Y, settings={"patience": 3, **more})


# ---- messages ----

WORDED = {  # those that need much data or a hostile file, and how options are told from sentences
    "use --window 400 or less": "use window=400 or less",
    "2 ranks, or use --batch-size 64 or less": "2 ranks, or use batch_size=64 or less",
    "use --data-mode memory, or smaller images": "use data_mode='memory', or smaller images",
    "is none of the files that --data names; wanted": "is none of the files that data= names; wanted",
    "name it with --data when you train, or use python -m distcnn.data pack a OUT.h5 --images /b; --task classify": (
        "name it with data= when you train, or use python -m distcnn.data pack a OUT.h5 --images /b; task='classify'"
    ),
    "--freeze 0.*,3.*: no parameter has": "freeze=['0.*', '3.*']: no parameter has",
    "--norm-group 2 does nothing with --model mlp, which": "norm_group=2 does nothing with model='mlp', which",
    "as in --images 'a b.h5:/x[0:5]' --labels /y[0:5]": "as in images='a b.h5:/x[0:5]' labels='/y[0:5]'",
    "did you mean --learning-rate?": "did you mean learning_rate?",
    "--optimizer nesterov is Nesterov's": "optimizer='nesterov' is Nesterov's",
    "give it --shm-size or --unknown": "give it --shm-size or --unknown",
    "a--seed 3 and --seeds": "a--seed 3 and --seeds",
}


@pytest.mark.parametrize("message", WORDED)
def test_options_become_arguments(message):
    assert worded(message, as_keyword) == WORDED[message]


def test_every_option_has_an_argument():
    for name in map(option, SETTINGS):
        for say in as_keyword, of_a_net:
            assert "--" not in worded(f"{name}: no; name it ({name})", say)


def test_advice_on_names_of_other_libraries():
    for name, wanted in (
        ("nesterov", "optimizer='nesterov' is Nesterov's momentum"),
        ("criterion", "task='classify' or 'multilabel' or 'regress'"),
        ("sync_bn", "norm_group='global' takes the statistics"),
    ):
        assert wanted in said(fit, **{name: 1})
