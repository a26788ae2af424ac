"""Runs of each task: one digest on any number of ranks, and all commands in the units and names of the data."""

import csv
import io
import json
import re
from pathlib import Path
from shutil import copy

import h5py
import numpy as np
import pytest

from distcnn import Net
from distcnn.errors import DataError
from distcnn.layers import Dense, Flatten
from distcnn.run import checkpoint
from distcnn.training.load import load_net
from tests.helpers.arrays import close
from tests.helpers.digests import digest

N, TEST, SHAPE = 150, 40, (1, 10, 10)
NAMES = {"multilabel": ["bright", "left", "top"], "regress": ["mean", "width"]}
OPTIONS = "--model", "mlp", "--batch-size", 48, "--epochs", 3, "--learning-rate", 0.02, "--progress", "none"
STREAMED = "--data-mode", "stream"
GOLDEN = {  # pinned, as the bits of runs must never change
    ("multilabel", ()): "e37026d2091319614c6c9786abe7795599dedf11f285510d33203f230c244446",
    ("multilabel", STREAMED): "5756d3755d18fc5965f424e4e9a2be37a938dc1da03dcc50444909ab8cdfae4d",
    ("regress", ()): "f42eb5df6980506437d28b502ab99470f558c8f05c1e9d35a6e25e83c2c7cdfe",
    ("regress", STREAMED): "47b473dde1ba99b4dba2ff10f438d3a91ec2ecd22be9763607bc8cc1c7bf4519",
}


def write(task):
    """Write the file of a dataset, TASK.h5, whose labels follow from its images."""
    random = np.random.default_rng(0)
    with h5py.File(f"{task}.h5", "w") as file:
        for split, n in (("train", N), ("test", TEST)):
            images = random.integers(0, 256, (n, *SHAPE), np.uint8) // random.integers(
                1, 5, (n, 1, 1, 1), np.uint8
            )
            file[f"{split}/images"], file[f"{split}/labels"] = images, LABELS[task](images.astype(np.int64))
        file.attrs["classes"] = NAMES[task]


def answers(images):
    left, top = images[..., :5].sum(axis=(1, 2, 3)), images[:, :, :5].sum(axis=(1, 2, 3))
    whole = images.sum(axis=(1, 2, 3))
    return np.stack([whole > 9000, 2 * left > whole, 2 * top > whole], 1)


def measures(images):
    return np.stack([images.mean(axis=(1, 2, 3)) / 1000 + 5, 1e4 - 30 * images.max(axis=(1, 2, 3))], 1)


LABELS = {"multilabel": answers, "regress": measures}


@pytest.mark.mpi(ranks=(1, 3), timeout=240)
def test_any_number_of_ranks(call, comm):
    if comm.rank == 0:
        write("multilabel")
        write("regress")
    comm.Barrier()
    for (task, words), wanted in GOLDEN.items():
        done = call("distcnn.train", "--data", f"{task}.h5", *OPTIONS, *words, "--out", f"{task}{len(words)}")
        assert digest(done) == wanted, (task, words)
        assert f"; task {task}\n" in done.stdout
    found = call("distcnn.predict", "regress0", "--json")
    assert json.loads(found.stdout)["mean_absolute_error"] == pytest.approx(ERRORS, rel=1e-12)


ERRORS = [0.04091176986694336, 893.6654846191407]  # of each target, in its unit


@pytest.mark.parametrize("task", LABELS)
def test_a_run_is_resumed_verified_evaluated_and_predicts(here, task):
    write(task)
    words = "distcnn.train", "--data", f"{task}.h5", *OPTIONS, "--validation-split", 0.2
    whole = here(*words, "--out", "whole")
    digest(here(*words, "--out", "run", "--max-steps", 4))
    assert digest(here("distcnn.train", "--out", "run", "--resume", "auto")) == digest(whole)
    assert here("distcnn.verify", "run").returncode == 0
    record = json.loads(Path("run/metrics.jsonl").read_text().splitlines()[-1])
    for split in ("test", "validation"):
        found = json.loads(here("distcnn.evaluate", "run", "--split", split, "--json").stdout)
        assert found["task"] == task
        assert found["loss"] == record[f"{split}_loss"]
        assert found.get("accuracy") == record[f"{split}_accuracy"]
    assert (record["train_accuracy"] is None) == (task == "regress")
    assert here("distcnn.predict", "run", "--out", "p.csv").returncode == 0
    CHECKS[task](state_of("run"), list(csv.reader(io.StringIO(Path("p.csv").read_text()))))


def state_of(run):
    return checkpoint.newest(f"{run}/checkpoints", print)[1]


def check_labels(state, rows):
    """Each row has the image, its labels, the answers, and the probabilities, which are above 0.5 for those."""
    names = NAMES["multilabel"]
    assert rows[0] == ["image", *(f"label {n}" for n in names), *names, *(f"probability {n}" for n in names)]
    values = np.array(rows[1:], float)
    with h5py.File("multilabel.h5") as file:
        images, labels = file["test/images"][...], file["test/labels"][...]
    logits = load_net(state, "here").predict(images).astype(float)
    assert (values[:, 1:4] == labels).all()
    assert close(values[:, 7:], 1 / (1 + np.exp(-logits)))
    assert (values[:, 4:7] == (logits > 0)).all()
    assert len(state.target_mean) == 0


def check_targets(state, rows):
    """Each row has the image, its targets, and the predictions in their units."""
    assert rows[0] == ["image", "label mean", "label width", "mean", "width"]
    values = np.array(rows[1:], float)
    with h5py.File("regress.h5") as file:
        images, labels = file["test/images"][...], file["test/labels"][...]
    outputs = load_net(state, "here").predict(images).astype(float)
    assert np.allclose(values[:, 1:3], labels, rtol=1e-6)
    assert np.allclose(values[:, 3:], outputs * state.target_std + state.target_mean, rtol=1e-6)
    assert abs(values[:, 3:] - labels).mean(axis=0)[1] < labels.std(axis=0)[1]  # it has learned something


CHECKS = {"multilabel": check_labels, "regress": check_targets}


MISTAKES = {  # what contradicts a task: options of a training, and the line that tells it
    "another task": ("regress --task multilabel", "wanted 0 or 1 for each label: say --task regress"),
    "classes": (
        "multilabel --task classify",
        "several labels a sample: row 0 has 0 ones of 3; .*--task multilabel",
    ),
    "a net of other outputs": (
        "regress --model net.txt",
        r"net.txt ends in an output of shape \(3,\), but the data have 2 targets: end it in Dense\(2\)",
    ),
    "a net with a sigmoid": (
        "multilabel --model sigmoid.txt",
        r"takes logits and computes the sigmoid itself: leave out the final Sigmoid\(\)",
    ),
    "labels that are never found absent": (
        "multilabel --model relu.txt",
        r"takes logits, below 0 for a label that an image does not have: leave out the final ReLU\(\)",
    ),
    "smoothed targets": (
        "regress --label-smoothing 0.1",
        "--label-smoothing does nothing with --task regress, as the data show: leave it out$",
    ),
    "mapped measures": (
        "regress --task regress --map-labels",
        "--map-labels does nothing with --task regress",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_contradicts_a_task_is_one_line_and_leaves_nothing(here, name):
    options, words = MISTAKES[name]
    task, *more = options.split()
    write(task)
    Path("net.txt").write_text("Flatten()\nDense(3)\n")
    Path("sigmoid.txt").write_text("Flatten()\nDense(3)\nSigmoid()\n")
    Path("relu.txt").write_text("Flatten()\nDense(3)\nReLU()\n")
    done = here("distcnn.train", "--data", f"{task}.h5", *more, "--out", "run")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.search(words, done.stderr)
    assert done.stderr.count("\n") == 1
    assert not Path("run").exists()


def test_commands_refuse_what_the_task_of_a_run_does_not_have(here):
    write("multilabel")
    write("regress")
    with h5py.File(copy("regress.h5", "named.h5"), "r+") as file:
        file.attrs["task"] = "regress"
    digest(here("distcnn.train", "--data", "multilabel.h5", *OPTIONS, "--max-steps", 1, "--out", "run"))
    for words, said in {
        "predict run --top 2": "--top 2 does nothing, as .* was trained for multilabel: leave it out",
        "export run a.onnx --softmax": "--softmax does not fit a net that was trained for multilabel: say --sigmoid",
        "evaluate run --data regress.h5": "wanted 0 or 1 for each label",
        "predict run --data regress.h5": "; the net was trained for multilabel: name other data \\(--data\\)$",
        "evaluate run --data named.h5": "task says regress; the net was trained for multilabel: name other data",
        "train --out run --resume auto --task regress": "--task regress: the run has multilabel",
    }.items():
        command, *options = words.split()
        done = here(f"distcnn.{command}", *options)
        assert done.returncode == 2, done.stdout
        assert re.search(said, done.stderr), done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("task", LABELS)
def test_onnx_gives_probabilities_and_predictions(here, task):
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    write(task)
    digest(here("distcnn.train", "--data", f"{task}.h5", *OPTIONS, "--max-steps", 2, "--out", "run"))
    asked = ["--sigmoid"] if task == "multilabel" else []
    done = here("distcnn.export", "run", "a.onnx", *asked)
    assert done.returncode == 0, done.stderr
    net = load_net(state_of("run"), "here")
    with h5py.File(f"{task}.h5") as file:
        images = file["test/images"][...].astype(np.float32)
    (found,) = onnxruntime.InferenceSession("a.onnx").run(None, {"images": images})
    outputs = net.predict(images)
    wanted = 1 / (1 + np.exp(-outputs.astype(float))) if asked else net.targets.predictions(outputs)
    assert np.allclose(found, wanted, rtol=1e-5)


@pytest.mark.parametrize(("task", "outputs"), [("regress", 1), ("multilabel", 3)])
def test_a_net_is_evaluated_from_python_by_its_task(task, outputs):
    """Also where labels alone would be taken for classes, as whole numbers are."""
    images = np.random.default_rng(0).integers(0, 256, (40, *SHAPE), np.uint8)
    labels = {"regress": np.arange(40) * 7, "multilabel": np.eye(3, dtype=int)[np.arange(40) % 3]}[task]
    net = Net([Flatten(), Dense(outputs)], SHAPE, task=task)
    loss, _ = net.loss_and_gradients(images.astype(np.float32), labels)
    assert net.evaluate(images, labels)["loss"] == loss
    with pytest.raises(DataError, match=f"rows of 2 labels, but the net has {outputs} outputs"):
        net.evaluate(images, np.stack([labels.reshape(40, -1)[:, 0] > 0] * 2, 1) * 1)
