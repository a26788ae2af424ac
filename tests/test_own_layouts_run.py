"""A run on users' own files, from training to prediction: what was found out stands in its settings."""

import json
import shutil

import h5py
import numpy as np
import pytest

from distcnn.config.toml import from_toml
from distcnn.run import checkpoint

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
