"""Remedies that are more than commands, of evaluation, launcher, caches and MPI, are carried out, and work."""

import json
import re
import shutil

import numpy as np
import pytest

from distcnn import launch
from distcnn.config.parser import parse
from distcnn.data.batches import Batches
from distcnn.data.dataset import Split
from distcnn.system import cache_dir
from distcnn.system.counts import counted, plural
from tests.helpers import datasets
from tests.helpers.remedies import (
    IMAGES,
    commands,
    fails,
)


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Return a function that runs a command in an empty folder with some datasets."""
    return commands(tmp_path, monkeypatch)


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
    assert (done.returncode, done.stdout.count("2")) == (0, 2), done.stderr  # lines of ranks may mix


def test_the_help_says_what_the_command_does(capsys):
    with pytest.raises(SystemExit):
        parse(["--help"], "prog")
    assert "Train a network" in capsys.readouterr().out
