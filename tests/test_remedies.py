"""Every remedy that a message names is carried out, and works: a row gives a mistake, its message and what follows."""

import os
import re
import shlex

import pytest

from distcnn.config.parser import parse
from distcnn.network import memory
from tests.helpers import datasets
from tests.helpers.remedies import (
    Row,
    commands,
    converted,
    damaged,
    fails,
    moved,
    of_other_numerics,
    one,
    removed,
    two,
    with_layers,
    without_line,
    without_network,
    written,
)


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Return a function that runs a command in an empty folder with some datasets."""
    return commands(tmp_path, monkeypatch)


def consistent(line):
    from distcnn.config.checks import check_consistency

    check_consistency(parse(shlex.split(line), "test").config)


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
        ("train --out a", AGAIN + " --resume auto", damaged("a/checkpoints/step-00000002.h5")),
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
