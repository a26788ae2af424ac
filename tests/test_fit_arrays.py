"""A run on arrays in memory says so, and every command on it asks for a file that holds them, which then works."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

import distcnn
from distcnn.config.toml import from_toml
from distcnn.errors import DataError
from tests.helpers.remedies import commands, fails

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.random((40, 6, 6)), np.arange(40) % 3
XV, YV = X[:16] + 0.1, Y[:16]
SHORT = {"batch_size": 16, "epochs": 1, "progress": "none"}
SAID = "step-00000003.h5 was trained on arrays in memory: name a file that holds them (--data FILE)"


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Return a function that runs a command in an empty folder with some datasets."""
    return commands(tmp_path, monkeypatch)


def fit(**arguments):
    return distcnn.fit("one", **SHORT, **arguments)


def saved(run):
    return from_toml(Path(run, "config.toml").read_text(), run)


def write(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name.replace("__", "/")] = array


def evaluated(command, capsys, line):
    capsys.readouterr()
    command(f"evaluate {line} --json")
    return json.loads(capsys.readouterr().out)


def test_all_commands_ask_for_a_file_which_works(command, capsys):
    run = fit(data=(X, Y), test=(XV, YV), out="run")
    settings = saved("run")
    assert settings.data == "arrays in memory"
    assert settings.images is settings.test_labels is None
    assert "arrays.h5" not in Path("run/config.toml").read_text()
    for line in (
        "evaluate run",
        "predict run --split train",
        "verify run",
        "train --resume auto --epochs 2 --out run",
    ):
        assert fails(command, line).endswith(SAID)
    write("same.h5", x_train=X, y_train=Y, x_test=XV, y_test=YV)
    write("other.h5", train__images=X, train__labels=Y, test__images=XV, test__labels=YV)
    for file in ("same.h5", "other.h5"):
        assert evaluated(command, capsys, f"run --data {file}")["loss"] == run.history[-1]["test_loss"]
        command(f"predict run --data {file} --split train")
    command("train --resume auto --epochs 2 --data other.h5 --out run")
    assert saved("run").data.endswith("/other.h5")


def test_a_run_on_a_file_and_arrays(command, capsys):
    write("part.h5", x_train=X, y_train=Y)
    sources = {"data": "part.h5", "validation": (XV, YV)}
    run = fit(**sources, out="run", max_steps=2)
    whole = fit(**sources)
    settings = saved("run")
    assert settings.data[1:] == ("arrays in memory",)
    assert (settings.images, settings.validation_images) == ("part.h5:/x_train", None)
    assert "was trained on arrays in memory" in fails(command, "evaluate run --split train")
    assert evaluated(command, capsys, "run --split train --data part.h5")["weights_sha256"] == run.digest
    assert fit(**sources, out="run", resume="auto").digest == whole.digest
    write("rest.h5", x=XV, y=YV)
    command("verify run --data part.h5 rest.h5 --validation-images rest.h5:/x --validation-labels rest.h5:/y")
    assert f"weights_sha256 {whole.digest}" in capsys.readouterr().out


def test_settings_of_such_a_run_ask_for_a_file(command):
    run = fit(data=(X, Y), out="run")
    assert "were arrays in memory: name a file that holds them (--data FILE)" in fails(
        command, "train --config run/config.toml"
    )
    write("same.h5", x_train=X, y_train=Y)
    command("train --config run/config.toml --data same.h5")
    with pytest.raises(DataError, match=r"name a file that holds them \(data='FILE'\)"):
        fit(out="run", resume="auto")
    assert fit(data="same.h5", out="run", resume="auto").digest == run.digest
