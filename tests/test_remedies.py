"""Every remedy that a message names is carried out, and works: a row gives a mistake, its message and what follows.

All commands run in this process, on a net of one layer; `train` stands for training its first step.
"""

import json
import os
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest

from distcnn import Net, evaluate, launch, predict, train, verify
from distcnn.config.parser import parse
from distcnn.data import __main__ as data
from distcnn.data.batches import Batches
from distcnn.data.dataset import Split
from distcnn.errors import DistcnnError, NetError
from distcnn.layers import Conv2D, Dense, Flatten, SaveAs, Softmax, StartFrom
from distcnn.models import MODELS, check
from distcnn.models.base import Model
from distcnn.network import memory
from distcnn.parallel.serial import SerialComm
from distcnn.run import checkpoint
from distcnn.run.curves import Curves
from distcnn.system import cache_dir
from distcnn.system.counts import counted, plural
from tests.helpers import datasets

VERBS = {"train": train, "evaluate": evaluate, "predict": predict, "verify": verify, "data": data}
SHORT = "--model one --progress none --hang-timeout 0"  # for every training
STEP = "--max-steps 1"  # unless a training has it


def one(input_shape, classes):
    return [Flatten(), Dense(classes)]


def two(input_shape, classes):
    return [Flatten(), Dense(2), Dense(classes)]


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Return a function that runs a command in an empty folder with some datasets."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(MODELS, "one", Model(one, (1, 6, 5)))
    monkeypatch.setattr(Curves, "draw", lambda self: None)
    write_datasets()

    def call(line):
        if callable(line):
            return line()
        verb, *words = shlex.split(line)
        if verb == "train":
            words += shlex.split(SHORT)[2 * ("--model" in words) :]
            words += [] if re.search("--max-|--epochs|--resume auto --out done", line) else shlex.split(STEP)
            words += [] if re.search("--(data|resume|config)", line) else ["--data", "data.h5"]
        monkeypatch.setattr(sys, "argv", [verb, *words])
        return VERBS[verb].main(SerialComm())

    return call


def write_datasets():
    """Write data.h5, the same without a test split, with other classes, and with other pixels."""
    datasets.write("data.h5")
    datasets.write("train_only.h5", {"test/images": None, "test/labels": None})
    datasets.write("other_classes.h5", classes=("x", "y", "z"))
    datasets.write("other_size.h5", {f"{split}/images": IMAGES[:n, :, :4] for split, n in SIZES})
    datasets.write("floats.h5", {f"{split}/images": np.float32(IMAGES[:n]) for split, n in SIZES})


IMAGES, SIZES = datasets.IMAGES, (("train", 12), ("test", 4))


# ---- what a row does before and between commands ----


def moved(old, new):
    return lambda: os.rename(old, new)


def removed(path):
    return lambda: os.unlink(path)


def written(path, text):
    def write():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text)

    return write


def without_line(path, pattern):
    def write():
        lines = Path(path).read_text().splitlines(keepends=True)
        Path(path).write_text("".join(line for line in lines if not re.match(pattern, line)))

    return write


def damaged(path):
    def write():
        content = bytearray(Path(path).read_bytes())
        content[-1] ^= 1
        Path(path).write_bytes(content)

    return write


def of_other_numerics(path):
    def write():
        state = checkpoint.load(path)
        state.numerics = 1
        checkpoint.save(path, state)

    return write


def without_network(*_):
    """Save the newest checkpoint in `a` as early versions did, without the network."""
    path, state = checkpoint.newest("a/checkpoints", pytest.fail)
    state.network = ""
    checkpoint.save(path, state)


def with_layers(layers):
    return lambda: MODELS.__setitem__("one", Model(layers, (1, 6, 5)))


def converted(source, path):
    """Write a dataset with its images as bytes."""

    def write():
        with h5py.File(source) as file:
            images = {f"{split}/images": np.uint8(file[f"{split}/images"]) for split, _ in SIZES}
        datasets.write(path, images)

    return write


# ---- the table ----


@dataclass
class Row:
    """A mistake and its remedies.

    fails: the command that is refused.
    finds: a regular expression; its groups are what the message tells to do.
    works: lists of commands, one a remedy, that must work, each in the state that the mistake has left; the groups
        stand in for {0}, {1}, ...
    before: commands before the mistake.
    """

    fails: str
    finds: str
    works: list[list]
    before: tuple = ()


AGAIN = "train --out a --max-steps 2"
NEW_FOLDER = "train --out a {0} b"
ROWS = {
    # the run's folder
    "a folder with a run": Row(
        "train --out a",
        r"(--resume auto), or choose another folder \((--out)\)",
        [[AGAIN + " {0}"], ["train {1} b"]],
        ("train --out a",),
    ),
    "a folder that cannot be written": Row(
        "train --out /proc/a", r"another folder \((--out)\)", [["train {0} a"]]
    ),
    "another value than the run's": Row(
        "train --out a --resume auto --seed 3",
        r"leave the option out, or .* another folder \((--out)\)",
        [[AGAIN + " --resume auto"], ["train {0} b --seed 3"]],
        ("train --out a",),
    ),
    "a config.toml that cannot be read": Row(
        "train --out a --resume auto",
        r"remove its folder, or choose another one \((--out)\)",
        [[lambda: os.rename("a", "gone"), "train --out a --resume auto"], ["train {0} b --resume auto"]],
        (lambda: os.makedirs("a/config.toml"),),
    ),
    "a checkpoint of other numerics": Row(
        AGAIN + " --resume auto",
        r"start a new run in another folder \((--out)\)",
        [["train {0} b"]],
        ("train --out a", of_other_numerics("a/checkpoints/step-00000001.h5")),
    ),
    "a damaged metrics.jsonl": Row(
        "train --out a --max-steps 2 --resume auto",
        "(remove) it",
        [[lambda: os.rmdir("a/metrics.jsonl"), AGAIN + " --resume auto"]],
        ("train --out a", removed("a/metrics.jsonl"), lambda: os.mkdir("a/metrics.jsonl")),
    ),
    # checkpoints
    "a damaged checkpoint": Row(
        "evaluate a/checkpoints/step-00000002.h5",
        "use (another) checkpoint",
        [["evaluate a/checkpoints/step-00000001.h5"]],
        (
            "train --out a --max-steps 1",
            "train --out a --max-steps 2 --resume auto",
            damaged("a/checkpoints/step-00000002.h5"),
        ),
    ),
    "no checkpoint": Row(
        "evaluate a/config.toml",
        "(wanted) a file that distcnn.train has saved",
        [["evaluate a"]],
        ("train --out a",),
    ),
    "a folder without checkpoints": Row(
        "evaluate .", "wanted the (folder of a run)", [["evaluate a"]], ("train --out a",)
    ),
    "no run to verify": Row("verify .", "wanted the (folder of a run)", [["verify a"]], ("train --out a",)),
    "a checkpoint of another model": Row(
        "evaluate a",
        "(use the model), .* that it was trained with",
        [[with_layers(one), "evaluate a"]],
        ("train --out a", without_network, with_layers(two)),
    ),
    # data
    **{
        f"moved data, {verb}": Row(
            f"{verb} {words}",
            r"data.h5 does not exist, but .* name its new place \((--data)\)",
            [[f"{verb} {words} {{0}} new.h5"], [moved("new.h5", "data.h5"), f"{verb} {words}"]],
            ("train --out a --validation-split 0.2", moved("data.h5", "new.h5")),
        )
        for verb, words in (
            ("evaluate", "a"),
            ("predict", "a"),
            ("predict", "a --split validation"),
            ("verify", "a"),
            ("train", "--max-steps 2 --resume auto --out a"),
            ("train", "--max-steps 2 --resume a/checkpoints/step-00000001.h5"),
        )
    },
    "moved data before the first checkpoint": Row(
        "train --resume auto --out a",
        r"name its new place \((--data)\)",
        [["train --resume auto --out a {0} new.h5"]],
        (
            "train --out a",
            removed("a/checkpoints/step-00000001.h5"),
            moved("data.h5", "new.h5"),
        ),
    ),
    "other data": Row(
        "verify a --data other_classes.h5",
        r"name its data \((--data)\), or start a new run in another folder \((--out)\)",
        [["verify a {0} data.h5"], ["train {1} b --data other_classes.h5"]],
        (
            "train --out a",
            lambda: datasets.write("other_classes.h5", {"train/labels": datasets.LABELS[::-1]}),
        ),
    ),
    "no such split": Row(
        "evaluate a --data train_only.h5",
        r"choose another split \((--split)\)",
        [["evaluate a --data train_only.h5 {0} train"]],
        ("train --out a",),
    ),
    "images of another size": Row(
        "evaluate a --data other_size.h5",
        r"name matching data \((--data)\)",
        [["evaluate a {0} data.h5"]],
        ("train --out a",),
    ),
    "images of another type": Row(
        "evaluate a --data floats.h5",
        "(convert) the images",
        [[converted("floats.h5", "bytes.h5"), "evaluate a --data bytes.h5"]],
        ("train --out a",),
    ),
    # files that are written
    "predictions of another kind": Row(
        "predict a --out x.txt",
        r"ends in (\.h5) or (\.csv)",
        [["predict a --out x{0}"], ["predict a --out x{1}"]],
        ("train --out a",),
    ),
    "predictions that exist": Row(
        "predict a --out x.h5",
        "choose another name, or replace it with (--force)",
        [["predict a --out y.h5"], ["predict a --out x.h5 {0}"]],
        ("train --out a", "predict a --out x.h5"),
    ),
    "no place for predictions": Row(
        "predict a --out nowhere/x.h5",
        "(choose another folder)",
        [["predict a --out x.h5"]],
        ("train --out a",),
    ),
    "a picture of another kind": Row(
        "data show data.h5 x.gif", r"ends in (\.png)", [["data show data.h5 x{0}"]]
    ),
    "a picture that exists": Row(
        "data show data.h5 x.png",
        "choose another name, or replace it with (--force)",
        [["data show data.h5 y.png"], ["data show data.h5 x.png {0}"]],
        (written("x.png", ""),),
    ),
    # settings
    "a setting without effect": Row(
        "train --gamma 0.5 --step-size 1",
        "leave it out, or use (--schedule step)",
        [["train"], ["train --gamma 0.5 --step-size 1 {0}"]],
    ),
    "a setting of other optimizers": Row(
        "train --beta2 0.9",
        "leave it out, or use (--optimizer adamw)",
        [["train"], ["train --beta2 0.9 {0}"]],
    ),
    "steps without a size": Row(
        "train --schedule step",
        "either (--step-size) or (--milestones)",
        [["train --schedule step {0} 1"], ["train --schedule step {1} 1"]],
    ),
    "a warmup that is too long": Row(
        "train --schedule one-cycle --epochs 2",
        "wanted (fewer)",
        [["train --schedule one-cycle --epochs 2 --warmup-epochs 1"]],
    ),
    "Nesterov without momentum": Row(
        "train --optimizer nesterov --momentum 0",
        "raise (--momentum), or use (sgd)",
        [["train --optimizer nesterov {0} 0.5"], ["train --optimizer {1} --momentum 0"]],
    ),
    "too many blocks": Row(
        "train --model resnet20 --norm-group 9 --batch-size 32",
        "wanted at most (2), or (global)",
        [[lambda: consistent("--norm-group 2 --batch-size 32")], [lambda: consistent("--norm-group global")]],
    ),
    "a batch of one block": Row(
        "train --norm-group 2 --batch-size 16",
        "has 1 block of 16 samples; wanted at most (1)",
        [["train --norm-group {0}"]],
    ),
    "no batch norm": Row("train --norm-group 2", "(leave it out)", [["train"]]),
    "decay of nothing": Row(
        "train --decay weights", "without (--weight-decay)", [["train --decay weights {0} 0.1"]]
    ),
    "an option that is given twice": Row("train --seed 1 --seed 2", "wanted it (once)", [["train --seed 2"]]),
    "a file of other numerics": Row(
        "train --config x.toml",
        "(remove the line)",
        [[without_line("x.toml", "numerics"), "train --config x.toml --data data.h5"]],
        (written("x.toml", "numerics = 1\nseed = 3\n"),),
    ),
    "a setting under two names": Row(
        "train --config x.toml",
        "same setting; (remove one) of them",
        [
            [without_line("x.toml", "keep ="), "train --config x.toml"],
            [without_line("x.toml", "keep_"), "train --config x.toml"],
        ],
        (written("x.toml", "keep = 1\nkeep_checkpoints = 2\n"),),
    ),
    # training
    "divergence": Row(
        "train --out a --max-steps 9 --learning-rate 1e30 --warmup-epochs 0",
        r"lower learning rate \((--learning-rate)\)",
        [["train --out b --max-steps 9 --warmup-epochs 0 {0} 0.01"]],
    ),
    "a request to stop": Row(
        "train --out a --max-time 0", "continue with (--resume auto)", [[AGAIN + " {0}"]]
    ),
    "too little memory": Row("train --model vgg16 --data data.h5", "use .* a (smaller net)", [["train"]]),
}


def consistent(line):
    from distcnn.config.checks import check_consistency

    check_consistency(parse(shlex.split(line), "test").config)


def fails(command, line):
    """Run a command that must be refused in one line, and return the line."""
    with pytest.raises(DistcnnError) as caught:
        command(line)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("row", "k"),
    [pytest.param(row, k, id=f"{name}-{k}") for name, row in ROWS.items() for k in range(len(row.works))],
)
def test_a_remedy_works(command, monkeypatch, row, k):
    if "memory" in row.finds + row.fails or "vgg16" in row.fails:
        monkeypatch.setattr(memory, "available", lambda: 2**20)
    for line in row.before:
        command(line)
    message = fails(command, row.fails)
    found = re.search(row.finds, message)
    assert found, message
    for line in row.works[k]:
        assert not command(line if callable(line) else line.format(*found.groups()))


# ---- remedies of other forms ----


def test_a_finished_run_says_how_to_train_on(command, capsys):
    command("train --out done --epochs 2")
    for option, before, after in (("--epochs", "", "3"), ("--max-steps", "3 --epochs 9", "4 --epochs 9")):
        capsys.readouterr()
        command(f"train --resume auto --out done {option * bool(before)} {before}")
        said, note = capsys.readouterr()
        assert [line.split()[0] for line in said.splitlines()] == ["weights_sha256"]
        assert re.search(rf"done is finished, as it has done \d (epoch|step)s; .* a higher {option}\n", note)
        command(f"train --resume auto --out done {option} {after}")
        assert "done is finished" not in capsys.readouterr().err


def test_the_launcher_says_where_options_of_training_go():
    for line in ("-n 2 --epochs 3", "-n 2 --epochs=3", "--epochs 3 -n 2"):
        message = fails(lambda line: launch.parse(line.split()), line)
        assert message.startswith("--epochs is an option of training")
        assert "behind --, as in: -n 2 -- --epochs" in message
    found, options = launch.parse(["-n", "2", "--", "--epochs", "3"])
    assert (found.ranks, parse(options, "test").config.epochs) == (2, 3)


@pytest.mark.parametrize(("batch_size", "group", "size"), [(16, 1, 2), (40, 1, 4), (64, 2, 3)])
def test_as_many_ranks_as_the_message_says(batch_size, group, size):
    def batches(batch_size, size):
        return Batches(Split(IMAGES, datasets.LABELS), batch_size, 0, 0, size, group)

    message = fails(lambda size: batches(batch_size, size), size)
    ranks, larger = re.search(r"at most (\d+) ranks?, or raise the batch size to (\d+)", message).groups()
    assert ("1 rank," in message) == (ranks == "1")
    assert batches(batch_size, int(ranks))
    assert batches(int(larger), size)


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "resnet",
        "resnext50",
        "wide_resnet50_2",
        "vgg",
        "vgg19_bn",
        "lenet",
        "LeNet-5",
        "renset20",
        "mobilenet",
    ],
)
def test_models_that_are_named_exist(name):
    message = fails(check, name)
    named = [
        each
        for each in re.findall("[a-z0-9-]+", message.partition("'; ")[2] or message.partition("', ")[2])
        if each in MODELS
    ]
    assert named
    assert "resnet" not in name or named[0] in ("resnet20", "alexnet")
    for each in named:
        check(each)


@pytest.mark.parametrize("name", ["nets/mine", r"nets\mine", "mine.py"])
def test_a_network_of_one_s_own(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("from distcnn.layers import *\ndef net(s, n): return [Flatten(), Dense(n)]\n")
    Path("mine.txt").write_text("Flatten()\nDense(10)\n")
    message = fails(check, name)
    forms = re.findall(r"[\w.]+:FUNCTION|FILE.txt|MODULE:FUNCTION", message)
    assert forms == (
        ["mine.py:FUNCTION"] if name == "mine.py" else ["FILE.py:FUNCTION", "MODULE:FUNCTION", "FILE.txt"]
    )
    for form in forms:
        check(form.replace("FILE", "mine").replace("MODULE", "mine").replace("FUNCTION", "net"))


BATCH = np.float32(IMAGES), datasets.LABELS


@pytest.mark.parametrize(
    ("wrong", "words", "right"),
    [
        ([Dense(3)], "put a Flatten() before it", [Flatten(), Dense(3)]),
        ([Flatten(), Dense(3), Softmax()], "leave out the final Softmax()", [Flatten(), Dense(3)]),
        ([Conv2D(3, 3)], "end with Dense", [Conv2D(3, 3), Flatten(), Dense(3)]),
        (
            [Conv2D(3, 9), Flatten(), Dense(3)],
            "use larger images or a smaller net",
            [Conv2D(3, 5), Flatten(), Dense(3)],
        ),
        (
            [StartFrom("a"), Flatten(), Dense(3)],
            "put a SaveAs('a') there",
            [SaveAs("a"), StartFrom("a"), Flatten(), Dense(3)],
        ),
    ],
)
def test_remedies_for_nets(wrong, words, right):
    with pytest.raises(NetError) as caught:
        Net(wrong, (1, 6, 5)).loss_and_gradients(*BATCH)
    assert words in str(caught.value)
    Net(right, (1, 6, 5)).loss_and_gradients(*BATCH)


def test_backward_without_forward():
    net, dy = Net([Flatten(), Dense(3)], (1, 6, 5)), np.ones((12, 3), np.float32)
    with pytest.raises(NetError, match=r"needs a forward\(images, training=True\)"):
        net.backward(dy)
    net.forward(BATCH[0], training=True)
    assert net.backward(dy).shape == IMAGES.shape


@pytest.mark.parametrize("answers", ["all wrong", "one right"])
def test_evaluate_warns_of_classes_without_images_or_right_answers(command, capsys, answers):
    command("train --out a")
    capsys.readouterr()
    command("predict a --json")
    predicted = np.array(json.loads(capsys.readouterr().out)["predicted"])
    labels = np.full(4, (predicted[0] + 1) % 3)
    labels[0] = predicted[0] if answers == "one right" else labels[0]
    labels[labels == predicted] = predicted[0]
    datasets.write("rare.h5", {"test/labels": labels})
    command("evaluate a --data rare.h5 --json")
    said, warned = capsys.readouterr()
    right = {int(k) for k in labels[labels == predicted]}
    missing, wrong = [sorted(set(each)) for each in ({0, 1, 2} - {*labels}, {*labels} - right)]
    assert json.loads(said)["accuracy"] == np.mean(labels == predicted)
    lines = [f"no test image is of {named(missing)}, which the accuracy leaves out"]
    count = np.isin(labels, wrong).sum()
    lines += [
        f"no test image of {named(wrong)} is classified correctly, of {counted(count, 'image')}"
    ] * bool(wrong)
    assert warned.splitlines() == [f"distcnn: warning: {line}" for line in lines]


def named(classes):
    return plural(len(classes), "class") + " " + ", ".join(repr("abc"[k]) for k in classes)


def test_numbers_and_nouns():
    assert [counted(k, "rank") for k in (0, 1, 2, 1000)] == ["0 ranks", "1 rank", "2 ranks", "1,000 ranks"]
    assert [counted(k, "test class") for k in (1, 2)] == ["1 test class", "2 test classes"]
    assert [plural(2, noun) for noun in ("batch", "epoch", "box")] == ["batches", "epochs", "boxes"]


@pytest.mark.parametrize("follows", ["remove this folder", "set XDG_CACHE_HOME"])
def test_a_cache_that_others_can_write_to(tmp_path, monkeypatch, capsys, follows):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cache_dir, "_WARNED", [])
    (tmp_path / "distcnn").mkdir()
    (tmp_path / "distcnn").chmod(0o777)
    cache_dir.folder("x")
    assert f"{tmp_path / 'distcnn'}: other users can write there" in (said := capsys.readouterr().err)
    assert follows in said
    cache_dir._WARNED.clear()
    if follows == "remove this folder":
        shutil.rmtree(tmp_path / "distcnn")
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    assert tmp_path in cache_dir.folder("x").parents
    assert capsys.readouterr().err == ""


@pytest.mark.mpirun
def test_an_mpi_library_by_its_path(mpirun, tmp_path):
    code = "from distcnn.parallel.world import run, world; run(lambda comm: print(world().size))"
    done = mpirun(2, "python", "-c", code, env={"MPI4PY_LIBMPI": "/nowhere/libmpi.so"}, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("or set MPI4PY_LIBMPI") == 1
    find = "from mpi4py import MPI; print(*{x.split()[-1] for x in open('/proc/self/maps') if '/libmpi.so' in x})"
    library = mpirun(1, "python", "-c", find, cwd=tmp_path).stdout.strip()
    done = mpirun(2, "python", "-c", code, env={"MPI4PY_LIBMPI": library}, cwd=tmp_path)
    assert done.stdout.split() == ["2", "2"], done.stderr


def test_the_help_says_what_the_command_does(capsys):
    with pytest.raises(SystemExit):
        parse(["--help"], "prog")
    assert "Train a network" in capsys.readouterr().out
