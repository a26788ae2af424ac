"""A run on users' own files, from training to prediction: what was found out stands in its settings."""

import json
import shutil

import h5py
import numpy as np
import pytest

from distcnn.config.toml import from_toml
from distcnn.parallel.serial import SerialComm
from distcnn.run import checkpoint
from tests.helpers import commands

N, M = 96, 32


def save(path, **arrays):
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two files of 16-bit images with five bands last, and text labels; class k is brightest in band k."""
    folder = tmp_path_factory.mktemp("files")
    random = np.random.default_rng(0)
    for name, n in (("train", N), ("test", M)):
        labels = np.arange(n) % 3
        images = random.integers(0, 3000, (n, 12, 12, 5)).astype(">u2")
        images[np.arange(n), :, :, labels] += 2000
        texts = np.array(["wood", "field", "sea"])[labels].astype("S")
        save(folder / f"{name}.h5", bands=images, kind=texts)
    return folder


OPTIONS = ("--epochs", "2", "--batch-size", "32", "--warmup-epochs", "0", "--checkpoint-every", "2")


@pytest.mark.slow
def test_what_was_found_out_stands_in_the_run_and_is_used_again(files, tmp_path, run):
    def command(verb, *words, code=0):
        done = run("python", "-m", f"distcnn.{verb}", *words, cwd=tmp_path)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    first = ["--data", files / "*.h5", "--layout", "NHWC", "--out", "run", *OPTIONS]
    said = command("train", *first, code=2)
    assert "say --images train.h5:/bands --labels train.h5:/kind" in said
    arrays = [word for split in ("", "test-") for kind in ("images", "labels") for word in named(split, kind)]
    said = command("train", *first, *arrays, "--max-steps", 3)
    assert (
        "data: train train.h5:/bands with train.h5:/kind; test test.h5:/bands with test.h5:/kind; axes NHWC"
        in said
    )
    assert "pixels uint16, as float32, not scaled; labels text, 3 classes" in said
    config = from_toml((tmp_path / "run" / "config.toml").read_text(), "config.toml")
    assert (config.layout, config.images, config.test_labels) == ("NHWC", "train.h5:/bands", "test.h5:/kind")
    assert config.data == (str(files / "test.h5"), str(files / "train.h5"))

    moved = shutil.copytree(files, tmp_path / "moved")
    said = command("train", "--resume", "auto", "--out", "run", "--data", moved / "*.h5")
    digest = said.split()[-1]
    assert command("verify", "run", "--data", moved / "train.h5", moved / "test.h5").split()[-1] == digest
    state = checkpoint.newest(tmp_path / "run" / "checkpoints", print)[1]
    assert (state.dtype, state.classes) == ("uint16", ("field", "sea", "wood"))

    measured = json.loads(command("evaluate", "run", "--json"))
    assert (measured["samples"], measured["data"]) == (M, "train")
    found = json.loads(command("predict", "run", "--json"))
    assert found["accuracy"] == measured["accuracy"]
    with h5py.File(files / "test.h5") as file:
        images, kinds = file["bands"][:8], file["kind"][:8]
    save(tmp_path / "new.h5", images=images, labels=kinds)
    some = json.loads(command("predict", "run", "--data", "new.h5", "--json"))
    assert some["predicted"] == found["predicted"][:8]
    save(tmp_path / "odd.h5", things=images)
    named_anew = command("predict", "run", "--data", "odd.h5", "--images", "/things", "--json")
    assert json.loads(named_anew)["predicted"] == found["predicted"][:8]
    save(tmp_path / "scaled.h5", images=(images / 65535).astype("f4"))
    assert "trained on uint16" in command("predict", "run", "--data", "scaled.h5", code=2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run's folder, trained on images of a file that says no split, and a function that makes other such files."""
    folder = tmp_path_factory.mktemp("trained")

    def write(name, n, **names):
        """Write images and labels; names: "images", "text" and "numbers", by the names of the arrays."""
        random, labels = np.random.default_rng(n), np.arange(n) % 3
        images = random.integers(0, 90, (n, 12, 12, 3)).astype("u1")
        images[np.arange(n), :, :, labels] += 100
        content = {
            "images": images,
            "numbers": labels,
            "text": np.array(["wood", "field", "sea"], "S")[labels],
        }
        return str(save(folder / name, **{name: content[which] for name, which in names.items()}))

    data = write("train.h5", N, x="images", y="text")
    words = "--data", data, "--model", "mlp", "--out", folder / "run", "--epochs", 2, "--batch-size", 16
    done = commands.call(SerialComm(), "distcnn.train", *words, "--warmup-epochs", 0, "--progress", "none")
    assert done.returncode == 0, done.stderr
    return folder / "run", data, write


EVALUATED = {
    # how the arrays of another file are named, and the options that name them
    "usual names": ({"x": "images", "y": "text"}, []),
    "names of the test split": ({"x_test": "images", "y_test": "text"}, []),
    "other names": ({"bands": "images", "kind": "text"}, ["--images", "/bands", "--labels", "/kind"]),
    "other names of the test split": (
        {"bands": "images", "kind": "text"},
        ["--test-images", "/bands", "--test-labels", "/kind"],
    ),
    "names of the training split": (
        {"x_train": "images", "y_train": "text"},
        ["--images", "/x_train", "--labels", "/y_train"],
    ),
}


@pytest.mark.parametrize("name", EVALUATED)
def test_a_file_of_test_images_alone_is_evaluated(trained, here, name):
    run, _, write = trained
    names, options = EVALUATED[name]
    path = write("other.h5", M, **names)
    done = here("distcnn.evaluate", run, "--data", path, *options, "--json")
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert (measured["samples"], measured["split"], measured["accuracy"]) == (M, "test", 1)
    if options:
        by_file = [f"{path}:{word}" if word.startswith("/") else word for word in options]
        assert json.loads(here("distcnn.evaluate", run, *by_file, "--json").stdout) == measured
    found = json.loads(here("distcnn.predict", run, "--data", path, *options, "--json").stdout)
    assert (found["samples"], found["accuracy"]) == (M, 1)


def test_training_images_are_not_evaluated_as_test_images(trained, here):
    run, data, _ = trained
    done = here("distcnn.evaluate", run, "--data", data)
    assert (done.returncode, "has no /test; choose another split (--split)" in done.stderr) == (2, True)
    assert "96 train images" in here("distcnn.evaluate", run, "--data", data, "--split", "train").stdout
    named = "--images", f"{data}:/x", "--labels", f"{data}:/y"
    assert "verified" in here("distcnn.verify", run, *named).stdout
    assert "has no /test" in here("distcnn.evaluate", run, *named).stderr


def test_labels_whose_meaning_is_open_give_no_accuracy(trained, here):
    """The net knows wood, field and sea, the file 0, 1 and 2."""
    run, _, write = trained
    numbers = write("numbers.h5", M, x="images", y="numbers")
    done = here("distcnn.evaluate", run, "--data", numbers)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "name them in the file's attribute classes" in done.stderr
    done = here("distcnn.predict", run, "--data", numbers, "--json")
    assert json.loads(done.stdout)["accuracy"] is None
    assert "numbers of classes without names, and not used" in done.stderr
    assert json.loads(here("distcnn.predict", run, numbers, "--json").stdout)["accuracy"] is None
    with h5py.File(numbers, "a") as file:
        file["y"][()] = np.array([2, 0, 1])[file["y"][()]]
        file.attrs["classes"] = ["field", "sea", "wood"]
    assert "accuracy 100.00%" in here("distcnn.evaluate", run, "--data", numbers).stdout


def test_test_images_without_labels_are_only_predicted(trained, here):
    run, _, write = trained
    path = write("unlabeled.h5", M, x_test="images")
    done = here("distcnn.evaluate", run, "--data", path)
    assert (done.returncode, "no labels for its test images" in done.stderr) == (2, True)
    found = json.loads(here("distcnn.predict", run, "--data", path, "--json").stdout)
    assert (found["samples"], found["accuracy"]) == (M, None)


def test_sources_that_do_not_fit_into_memory_are_told(trained, here, monkeypatch):
    run, _, write = trained
    files = [write(f"part{k}.h5", M, x="images", y="text") for k in range(2)]
    monkeypatch.setattr("distcnn.training.prediction_sources.LIMIT", M * 3 * 12 * 12)
    done = here("distcnn.predict", run, *files)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "predict each HDF5 file on its own" in done.stderr
    assert here("distcnn.predict", run, files[0]).returncode == 0
    monkeypatch.setattr("distcnn.data.schema.MEMORY_LIMIT", 1000)
    assert json.loads(here("distcnn.predict", run, files[0], "--json").stdout)["accuracy"] == 1  # streamed
    assert "predict it without other sources" in here("distcnn.predict", run, *files).stderr


def named(split, kind):
    """Return the option that names images or labels in the file of a split."""
    array = {"images": "bands", "labels": "kind"}[kind]
    return f"--{split}{kind}", f"{'test' if split else 'train'}.h5:/{array}"


@pytest.mark.slow
def test_ranks_agree_on_other_layouts(files, tmp_path, run, mpirun):
    train = files / "train.h5"
    words = ["-m", "distcnn.train", "--layout", "NHWC", "--images", f"{train}:/bands", *OPTIONS]
    words += ["--labels", f"{train}:/kind", "--validation-split", "0.25", "--test-split", "0.25"]
    alone = run("python", *words, "--out", "a", "--max-steps", 2, cwd=tmp_path)
    together = mpirun(2, "python", *words, "--out", "b", "--max-steps", 2, cwd=tmp_path)
    assert alone.returncode == together.returncode == 0, alone.stderr + together.stderr
    assert alone.stdout.split()[-1] == together.stdout.split()[-1]
    assert "validation accuracy" in alone.stdout + alone.stderr
