"""Predictions of a checkpoint: what is printed and written, with labels and without, and what is refused."""

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from distcnn import evaluate, predict
from distcnn.errors import DataError, OutputError, UserError
from distcnn.parallel.serial import SerialComm
from distcnn.run import checkpoint
from tests.helpers.trainings import train_to, trainer_of


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint after a few steps on the digits, and the training that it is of."""
    argv = ["--validation-split", "0.2", "--batch-size", "64", "--warmup-epochs", "0"]
    trainer = train_to(trainer_of(argv), 10)
    path = tmp_path_factory.mktemp("run") / "step.h5"
    checkpoint.save(path, trainer.state())
    return str(path), trainer


@pytest.fixture
def command(trained, tmp_path, monkeypatch, capsys):
    """Run a command for the checkpoint in an empty folder; return what it printed."""
    monkeypatch.chdir(tmp_path)

    def call(module, *options, path=trained[0]):
        monkeypatch.setattr(sys, "argv", ["command", path, *options])
        module.main(SerialComm())
        return capsys.readouterr().out

    return call


def write(name="data.h5", **arrays):
    """Write a file of arrays; two underscores stand for a slash."""
    with h5py.File(name, "w") as file:
        for key, array in arrays.items():
            file[key.replace("__", "/")] = array
    return name


def test_predictions_are_what_the_net_gives(command, trained):
    test, net = trained[1].dataset.test, trained[1].net
    logits = net.predict(test.images)
    found = json.loads(command(predict, "--json"))
    assert found["predicted"] == logits.argmax(axis=1).tolist()
    assert found["accuracy"] == json.loads(command(evaluate, "--json"))["accuracy"]
    assert found["counts"] == np.bincount(found["predicted"], minlength=10).tolist()
    assert found["weights_sha256"] == net.digest
    said = command(predict, "--out", "a.h5")
    assert f"accuracy {found['accuracy']:.2%}" in said
    assert "wrote a.h5" in said
    powers = np.exp(logits.astype(np.float64))
    with h5py.File("a.h5") as file:
        assert np.allclose(file["probabilities"], powers / powers.sum(axis=1, keepdims=True), atol=1e-6)
        assert file["predicted"][:].tolist() == found["predicted"]
        assert np.array_equal(file["labels"], test.labels)
        assert list(file.attrs["classes"]) == list("0123456789")
        assert file.attrs["split"] == "test"


@pytest.mark.mpi(ranks=(3,))
def test_the_same_is_written_by_ranks_and_threads(command, trained, comm, call):
    path = comm.bcast(trained[0])
    if comm.rank == 0:
        command(predict, "--out", "a.csv", "--threads", "1")
        command(predict, "--out", "b.csv", "--threads", "3")
    done = call("distcnn.predict", path, "--out", "c.csv", "--threads", 2)
    assert done.returncode == 0, done.stderr
    assert len({Path(name).read_bytes() for name in ("a.csv", "b.csv", "c.csv")}) == 1
    rows = list(csv.reader(Path("a.csv").read_text().splitlines()))
    assert rows[0] == ["image", "label", "predicted", "class", "probability", *"0123456789"]
    assert [len(rows), rows[-1][0]] == [356, "354"]
    for row in rows[1:]:
        assert float(row[4]) == max(map(float, row[5:])) == float(row[5 + int(row[2])])


@pytest.mark.parametrize("name", ["test__images", "images"])
def test_images_without_labels(command, trained, name):
    images = trained[1].dataset.test.images[:3]
    write(**{name: images[:, 0]})
    found = json.loads(command(predict, "--data", "data.h5", "--json"))
    assert found["accuracy"] is None
    assert found["predicted"] == trained[1].net.predict(images).argmax(axis=1).tolist()
    said = command(predict, "--data", "data.h5", "--out", "p.csv").splitlines()
    assert said[0].endswith(
        f"on 3 {name.partition('__')[0]} images of data".replace("images images", "images")
    )
    assert len(said) == 5  # a line each
    assert Path("p.csv").read_text().startswith("image,predicted,")


def test_splits_are_those_of_training(command, trained):
    dataset, net = trained[1].dataset, trained[1].net
    for name, split in (("train", dataset.train), ("validation", dataset.validation)):
        found = json.loads(command(evaluate, "--split", name, "--json"))
        wanted = np.mean(net.predict(split.images).argmax(axis=1) == split.labels)
        assert (found["samples"], found["accuracy"]) == (len(split.labels), wanted)
        assert found["split"] == name
    found = json.loads(command(predict, "--split", "validation", "--json"))
    assert (found["accuracy"], found["split"]) == (wanted, "validation")


def test_splits_that_training_has_cut_off_are_those_of_evaluate(command, trained):
    """Else the accuracy that is printed would be that on images of the training."""
    split = trained[1].dataset.train
    write(x=split.images[:300], y=split.labels[:300])
    argv = ["--data", "data.h5", "--test-split", "0.2", "--validation-split", "0.1", "--batch-size", "64"]
    checkpoint.save("cut.h5", train_to(trainer_of(argv), 1).state())
    test, train, moved = ["--split", "test"], ["--split", "train"], ["--data", "data.h5"]
    for options, samples in (([], 60), (test, 60), (train, 216), (moved + test, 60), (moved + train, 216)):
        found, measured = (
            json.loads(command(module, *options, "--json", path="cut.h5")) for module in (predict, evaluate)
        )
        keys = "samples", "split", "accuracy"
        assert [found[key] for key in keys] == [measured[key] for key in keys]
        assert found["samples"] == len(found["predicted"]) == samples
    every = json.loads(command(predict, "--data", "data.h5", "--json", path="cut.h5"))
    assert (every["samples"], every["split"]) == (300, "images")
    for options in ([], train):  # each image is named by its row in the file
        found = json.loads(command(predict, *options, "--json", path="cut.h5"))
        assert all(name.startswith("train/") for name in found["images"])
        rows = [int(name.removeprefix("train/")) for name in found["images"]]
        assert [every["predicted"][row] for row in rows] == found["predicted"]


def test_other_data_has_no_validation_split(command, trained):
    test = trained[1].dataset.test
    write(train__images=test.images, train__labels=test.labels)
    assert json.loads(command(evaluate, "--data", "data.h5", "--split", "train", "--json"))["samples"] == 355
    with pytest.raises(DataError, match="no validation split"):
        command(evaluate, "--data", "data.h5", "--split", "validation")


def test_images_of_another_type_are_refused(command, trained, tmp_path):
    """What was trained on bytes gives nonsense on fractions."""
    test = trained[1].dataset.test
    images = (test.images / 255).astype(np.float32)
    write(test__images=images, test__labels=test.labels, train__images=images, train__labels=test.labels)
    for module in (evaluate, predict):
        with pytest.raises(DataError, match=r"float32.* uint8"):
            command(module, "--data", "data.h5")
    checkpoint.save(
        "early.h5", replace(trained[1].state(), dtype="")
    )  # from before checkpoints held the type
    assert "accuracy" in command(predict, "--data", "data.h5", path="early.h5")


@pytest.mark.parametrize(("factor", "is_told"), [(1, False), (3, False), (255, True), (1 / 255, True)])
def test_floats_of_another_scale_are_told(trained, tmp_path, monkeypatch, capsys, factor, is_told):
    """Numbers from 0 to 255 may have the type of those from 0 to 1; then the net gives nonsense."""
    monkeypatch.chdir(tmp_path)
    train, state = trained[1].dataset.train, trained[1].state()
    as_floats = {"dtype": "float32", "mean": state.mean / 255, "std": state.std / 255}
    checkpoint.save("floats.h5", replace(state, **as_floats))
    write(images=(train.images[:20] / 255 * factor).astype(np.float32))
    monkeypatch.setattr(sys, "argv", ["predict", "floats.h5", "--data", "data.h5"])
    predict.main(SerialComm())
    told = capsys.readouterr().err
    assert ("scale them alike" in told) == is_told, told


IMAGES = np.zeros((4, 28, 28), np.uint8)
MISTAKES = {
    "another shape": ({"images": IMAGES[:, 1:]}, [], "27"),
    "no such split": ({"images": IMAGES}, ["--split", "test"], "test"),
    "nothing": ({"volumes": IMAGES}, [], "test"),
    "16 bits": ({"images": IMAGES.astype(np.uint16)}, [], "uint16"),
    "labels": ({"images": IMAGES, "labels": np.zeros(3, int)}, [], "3 labels"),
    "negative": ({"images": IMAGES, "labels": np.full(4, -1)}, [], "-1"),
    "nan": ({"images": np.full((4, 28, 28), np.nan, np.float32)}, [], "nan"),
    "a group": ({"images__a": IMAGES}, [], "group"),
    "an ending": ({"images": IMAGES}, ["--out", "p.txt"], ".csv"),
}


@pytest.mark.parametrize(("arrays", "options", "word"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_reported_and_nothing_is_written(command, arrays, options, word):
    write(**arrays)
    with pytest.raises(UserError) as caught:
        command(predict, "--data", "data.h5", *options)
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in Path().iterdir()] == ["data.h5"]


def test_a_file_is_replaced_only_when_asked_to(command):
    Path("a.csv").write_text("mine")
    with pytest.raises(OutputError, match="--force"):
        command(predict, "--out", "a.csv")
    assert Path("a.csv").read_text() == "mine"
    command(predict, "--out", "a.csv", "--force")
    assert Path("a.csv").read_text().startswith("image,")
