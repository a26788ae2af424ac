"""Prediction for image files: brought to what the net was trained on, named, and refused in one line."""

import csv
import json
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from distcnn import predict
from distcnn.config.parser import parse
from distcnn.data.dataset import load
from distcnn.data.importers.importer import Options
from distcnn.data.importers.pictures import Format, decode
from distcnn.data.importers.sources import read_source
from distcnn.data.importers.writer import write as write_dataset
from distcnn.data.picture_record import PictureRecord, read_text
from distcnn.errors import UserError
from distcnn.parallel.serial import SerialComm
from distcnn.run import checkpoint
from distcnn.training.trainer import Trainer
from tests.helpers.pictures import encoded, write

RANDOM = np.random.default_rng(0)
CLASSES = "a", "b", "c"
PICTURES = {
    f"train/{CLASSES[k % 3]}/{k}.png": encoded(RANDOM.integers(0, 256, (20 + k % 5, 24, 3), np.uint8))
    for k in range(18)
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint after two steps on images that were cropped to one size, and its training."""
    folder = tmp_path_factory.mktemp("run")
    write(folder / "x", PICTURES)
    write_dataset(folder / "x.h5", read_source(folder / "x", Options((16, 16), fit="crop")))
    config = parse(["--data", str(folder / "x.h5"), "--batch-size", "16"], "test").config
    trainer = Trainer(config, load(config.data, SerialComm()), SerialComm())
    for k, blocks in enumerate(trainer.remaining()):
        trainer.step(blocks)
        if k == 1:
            break
    checkpoint.save(folder / "step.h5", trainer.state())
    return folder / "step.h5", trainer


@pytest.fixture
def command(trained, tmp_path, monkeypatch, capsys):
    """Predict in a folder with pictures; return what was printed."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "x", PICTURES)

    def call(*words, path=trained[0]):
        monkeypatch.setattr(sys, "argv", ["predict", str(path), *map(str, words)])
        predict.main(SerialComm())
        return capsys.readouterr()

    return call


def wanted(trained, *names, fit="crop"):
    """Return the logits of pictures that were brought to the run's size."""
    contents = [PICTURES[name] for name in names]
    return trained[1].net.predict(np.stack([decode(x, Format((16, 16), fit, 3)).pixels for x in contents]))


def test_the_checkpoint_keeps_how_pictures_became_images(trained):
    record = read_text(checkpoint.load(trained[0]).pictures)
    assert record == PictureRecord("crop", None, "8")


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{}", '{"fit": "zoom", "pixels": null, "depth": "8"}', "[" * 9999]
)
def test_records_of_others_are_none(text):
    assert read_text(text) is None


def test_pictures_are_predicted_as_the_import_would_make_them(command, trained):
    names = sorted(PICTURES)
    found = json.loads(command("x", "--json", "--top", 2).out)
    logits = wanted(trained, *names)
    assert found["predicted"] == logits.argmax(axis=1).tolist()
    assert found["images"] == [f"x/{name}" for name in names]
    order = np.argsort(-logits, axis=1)[:, :2]
    assert [[name for name, _ in top] for top in found["top"]] == [[CLASSES[k] for k in row] for row in order]
    assert all(first >= second for (_, first), (_, second) in found["top"])


def test_sources_need_no_data_of_the_training(command, trained):
    data = trained[0].with_name("x.h5")
    data.rename(data.with_name("moved.h5"))
    try:
        with h5py.File("new.h5", "w") as file:
            file["images"] = np.zeros((2, 3, 16, 16), np.uint8)
        found = json.loads(command("x/train/a/0.png", "new.h5", "--json").out)
    finally:
        data.with_name("moved.h5").rename(data)
    assert found["images"] == ["x/train/a/0.png", "new 0", "new 1"]


def test_every_kind_of_source_in_the_order_of_the_words(command, trained):
    with zipfile.ZipFile("some.zip", "w") as file:
        file.writestr("deep/er/z.png", PICTURES["train/a/0.png"])
    with h5py.File("new.h5", "w") as file:
        file["images"] = np.zeros((2, 3, 16, 16), np.uint8)
    said = command("x/train/b/1.png", "x/train/c/[25].png", "new.h5", "some.zip", "--out", "p.csv")
    rows = list(csv.reader(Path("p.csv").read_text().splitlines()))
    assert rows[0] == ["image", "predicted", "class", "probability", *CLASSES]
    assert [row[0] for row in rows[1:]] == [
        "x/train/b/1.png",
        "x/train/c/2.png",
        "x/train/c/5.png",
        "new 0",
        "new 1",
        "some.zip/deep/er/z.png",
    ]
    logits = wanted(trained, "train/b/1.png", "train/c/2.png", "train/c/5.png", "train/a/0.png")
    assert [int(rows[k][1]) for k in (1, 2, 3, 6)] == logits.argmax(axis=1).tolist()
    assert said.out.splitlines()[1].startswith("x/train/b/1.png  ")
    assert said.err == ""


def test_the_files_of_predictions(command):
    command("x/train/a/0.png", "--top", 3, "--out", "p.h5")
    command("x/train/a/0.png", "--top", 2, "--out", "p.csv")
    with h5py.File("p.h5") as file:
        assert file["names"].asstr()[:].tolist() == ["x/train/a/0.png"]
        assert sorted(file["top"][0]) == [0, 1, 2]
        assert file["top"][0, 0] == file["predicted"][0] == file["probabilities"][0].argmax()
        second = CLASSES[file["top"][0, 1]]
    rows = list(csv.reader(Path("p.csv").read_text().splitlines()))
    assert rows[0] == ["image", "predicted", "class", "probability", "class 2", *CLASSES]
    assert rows[1][4] == second


def test_one_file_with_labels_has_an_accuracy(command, trained):
    assert "accuracy" in command(trained[0].parent / "x.h5", "--split", "train").out


def test_an_early_checkpoint_says_what_is_assumed(command, trained):
    checkpoint.save("early.h5", replace(trained[1].state(), pictures=""))
    found = command("x/train/a/0.png", "--json", path="early.h5")
    assert "does not hold how its images were made: image files are stretched to 16 x 16, bytes" in found.err
    assert (
        json.loads(found.out)["predicted"]
        == wanted(trained, "train/a/0.png", fit="stretch").argmax(axis=1).tolist()
    )


def test_another_size_than_that_of_all_images_is_told(command, trained):
    one = PictureRecord(None, None, "8").text()
    checkpoint.save("one.h5", replace(trained[1].state(), pictures=one))
    assert (
        "1 image stretched, as all images of the training had one size"
        in command("x/train/a/0.png", path="one.h5").err
    )


def test_16_bits_become_what_the_net_was_trained_on(command, trained):
    deep = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    Path("deep.png").write_bytes(encoded(deep))
    Path("plain.png").write_bytes(encoded(deep.astype(np.uint8)))
    with h5py.File("same.h5", "w") as file:
        file["images"] = np.repeat(deep.astype(np.uint8)[None, None], 3, axis=1)
    found = [
        json.loads(command(name, "--top", 3, "--json").out)["top"]
        for name in ("deep.png", "plain.png", "same.h5")
    ]
    assert found[0] == found[1] == found[2]


MISTAKES = {
    "missing": (["nowhere.png"], "nowhere.png: does not exist"),
    "no match": (["*.tiff"], "no file matches this pattern"),
    "no pictures": (["empty"], "holds no image files"),
    "damaged": (["bad.png"], "bad.png cannot be read as an image .*--skip-damaged"),
    "all damaged": (["bad.png", "--skip-damaged"], "no image can be used"),
    "no HDF5": (["notes.txt"], "notes.txt is not an HDF5 file"),
    "both": (["x", "--data", "x.h5"], "name all files without --data"),
    "a split": (["x", "--split", "train"], "--split does nothing for image files: leave it out"),
    "an array": (
        ["x/train/a/0.png", "--images", "/X"],
        "--images does nothing for image files: leave it out",
    ),
    "axes": (["x/train/a/0.png", "--layout", "NHWC"], "--layout does nothing for image files: leave it out"),
    "damaged HDF5": (
        ["notes.txt", "--skip-damaged"],
        "--skip-damaged does nothing for HDF5 files: leave it out",
    ),
    "damaged data": (["--data", "new.h5", "--skip-damaged"], "--skip-damaged does nothing for HDF5 files"),
    "top": (["x", "--top", "0"], "wanted a whole number from 1"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_refused_in_one_line(command, name):
    Path("empty").mkdir()
    Path("bad.png").write_bytes(b"bad")
    Path("notes.txt").write_bytes(b"notes")
    words, text = MISTAKES[name]
    with pytest.raises(UserError, match=text) as caught:
        command(*words, "--out", "p.csv")
    assert "\n" not in str(caught.value)
    assert not Path("p.csv").exists()


def test_damaged_pictures_are_left_out_when_asked(command):
    Path("bad.png").write_bytes(b"bad")
    found = command("bad.png", "x/train/a/0.png", "--skip-damaged", "--json")
    assert json.loads(found.out)["images"] == ["x/train/a/0.png"]
    assert "left out: bad.png cannot be read" in found.err


def test_channels_that_pictures_do_not_have(command, trained):
    state = replace(trained[1].state(), input_shape=(10, 16, 16), mean=np.zeros(10), std=np.ones(10))
    checkpoint.save("ten.h5", state)
    with pytest.raises(UserError, match="10 channels, and image files have 1 or 3"):
        command("x", path="ten.h5")


def test_ranks_predict_the_same(command, trained, mpirun):
    alone = json.loads(command("x", "--json").out)
    done = mpirun(2, "python", "-m", "distcnn.predict", trained[0], "x", "--json", cwd=".")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == alone
