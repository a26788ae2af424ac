"""Checkpoints written by a thread: killed at any stage, the earlier ones are good; a disk that fails is a warning."""

import json
import os
import shutil
import signal
import threading
from pathlib import Path

import pytest

from distcnn.errors import OutputError
from distcnn.run import checkpoint
from distcnn.run.checkpoint_writer import CheckpointWriter
from distcnn.run.hdf5_image import Image
from distcnn.run.metrics_log import Metrics
from distcnn.system import atomic_files
from tests.helpers import jobs
from tests.helpers.digests import digest, uninterrupted
from tests.helpers.states import described, state
from tests.programs import DISK_FAULTS


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def names(folder="checkpoints"):
    return sorted(os.listdir(folder))


def test_the_last_and_the_best_are_kept():
    writer = CheckpointWriter("checkpoints", 2)
    for step, score in [(1, (0.5, -1.0)), (2, (0.9, -1.0)), (3, None), (4, (0.9, -1.0)), (5, (0.9, -2.0))]:
        writer.save(state(step), score)
        while writer._pending:
            pass
    writer.close()
    assert not writer.warnings
    assert names() == ["best.h5", "step-00000002.h5", "step-00000004.h5", "step-00000005.h5"]
    assert checkpoint.load("checkpoints/best.h5").step == 2


def test_a_resumed_run_knows_its_best_checkpoint():
    os.mkdir("checkpoints")
    writer = CheckpointWriter("checkpoints", 1, ((0.9, -1.0), 2))
    checkpoint.save("checkpoints/step-00000002.h5", state(2))
    writer.save(state(3), (0.8, -1.0))
    writer.close()
    assert names() == ["best.h5", "step-00000002.h5", "step-00000003.h5"]
    assert os.readlink("checkpoints/best.h5") == "step-00000002.h5"


def test_states_that_share_an_image_come_back():
    image = Image()
    states = state(1), state(2, epoch_sums=(-1, 0, 0)), state(3, classes=("a",)), state(4, epoch=9)
    for one in states:
        checkpoint.save("x.h5", one, image)
        assert described(checkpoint.load("x.h5")) == described(one)


def test_training_does_not_wait_for_the_disk(monkeypatch):
    go, fsync = threading.Event(), os.fsync
    monkeypatch.setattr(atomic_files.os, "fsync", lambda file: go.wait(20) and fsync(file))
    writer = CheckpointWriter("checkpoints", 9)
    for step in (1, 2, 3, 4):
        writer.save(state(step))  # hangs here if it waits
    go.set()
    writer.close()
    assert names()[-1] == "step-00000004.h5"  # of those in between, some were left out
    assert len(names()) <= 3


STAGES = [  # functions of `os` and `open` that saving calls, in order
    ("open", "before"),
    ("write", "before"),
    ("write", "after"),
    ("fsync", "before"),
    ("fsync", "after"),
    ("replace", "before"),
    ("replace", "after"),
    ("sync", "before"),
    ("prune", "before"),
    ("prune", "middle"),
]


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def plant(stage, when):
    """Make this process die at a stage of saving, before or after it."""

    def around(function):
        def dying(*args, **keywords):
            if when == "before":
                die()
            function(*args, **keywords)
            die()

        return dying

    if stage in ("fsync", "replace"):
        setattr(atomic_files.os, stage, around(getattr(os, stage)))
    elif stage == "sync":
        atomic_files._sync = around(atomic_files._sync)
    elif stage == "prune":
        if when == "before":
            checkpoint.prune = around(checkpoint.prune)
        else:
            Path.unlink = around(Path.unlink)
    else:
        opened = open

        def opening(path, mode):
            if stage == "open":
                die()
            file = opened(path, mode, buffering=0)
            return Dying(file, when)

        atomic_files.open = opening


class Dying:
    """A file at whose second piece this process dies."""

    def __init__(self, file, when):
        self.file, self.when, self.pieces = file, when, 0

    def write(self, piece):
        self.pieces += 1
        if self.pieces == 2:
            self.file.write(piece[: len(piece) // 2] if self.when == "before" else piece)
            die()
        return self.file.write(piece)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()


@pytest.mark.parametrize(("stage", "when"), STAGES)
def test_killed_at_any_stage_the_earlier_ones_are_good(stage, when):
    os.mkdir("checkpoints")
    for step in (1, 2):
        checkpoint.save(f"checkpoints/{checkpoint.name(step)}", state(step))
    child = os.fork()
    if child == 0:
        try:
            plant(stage, when)
            writer = CheckpointWriter("checkpoints", 2)
            writer.save(state(3))
            writer.close()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    found = checkpoint.newest("checkpoints", pytest.fail)[1]
    renamed = (stage, when) in STAGES[6:]
    assert described(found) == described(state(3 if renamed else 2))
    # A new writer goes on from there, and removes what was left unfinished.
    writer = CheckpointWriter("checkpoints", 2)
    writer.save(state(4))
    writer.close()
    assert not writer.warnings
    assert names() == ["step-00000003.h5" if renamed else "step-00000002.h5", "step-00000004.h5"]


def vanish():
    shutil.rmtree("checkpoints")
    Path("checkpoints").write_text("")  # in the folder's place, so that it cannot be made again


def come_back():
    os.unlink("checkpoints")


def test_what_fails_is_a_warning_and_tried_again():
    writer = CheckpointWriter("checkpoints", 2)
    writer.save(state(1))
    writer.close()
    vanish()
    writer = CheckpointWriter("checkpoints", 2)
    writer.save(state(2))
    assert "step 2 is lost" in writer.close()
    assert ["training continues" in line for line in writer.warnings] == [True, True]
    writer = CheckpointWriter("checkpoints", 2)
    writer.save(state(3))
    while not writer.warnings:
        pass
    come_back()
    assert writer.close() is None  # it has tried again
    assert len(writer.warnings) == 1
    assert names() == ["step-00000003.h5"]


def test_an_unexpected_error_is_a_warning_too():
    writer = CheckpointWriter("checkpoints", 2)
    writer.save(state(1, parameters=state().parameters[1:]))
    writer.close()
    assert "parameters" in writer.warnings[0]


def test_records_that_could_not_be_written_are_written_later():
    metrics = Metrics("metrics.jsonl")
    metrics.append({"step": 1, "epoch": 1})
    os.rename("metrics.jsonl", "aside")
    os.mkdir("metrics.jsonl")
    for step in (2, 3):
        with pytest.raises(OutputError):
            metrics.append({"step": step, "epoch": 1})
    os.rmdir("metrics.jsonl")
    os.rename("aside", "metrics.jsonl")
    metrics.append({"step": 4, "epoch": 1})
    assert [record["step"] for record in metrics.records()] == [1, 2, 3, 4]


@pytest.mark.parametrize("fault", ["full", "vanished", "closed", "read_only"])
@pytest.mark.parametrize("ranks", [0, 2])
@pytest.mark.slow
def test_training_goes_on_when_the_disk_fails(request, fault, ranks):
    """From step 31 to 60 nothing can be written; what was saved before is good, and what comes after is saved."""
    options = ["--max-steps", 80, "--checkpoint-every", 10, "--keep-checkpoints", 9, "--out", "a"]
    words = "python", DISK_FAULTS, fault, *options
    run = request.getfixturevalue("mpirun") if ranks else jobs.run
    done = run(ranks, *words) if ranks else run(*words)
    assert "training continues" in done.stderr
    assert digest(done) == uninterrupted(80)
    before, after = [10, 12, 20, 24, 30], [70, 72, 80]  # an epoch has 12 steps
    found = [checkpoint.load(path).step for path in sorted(Path("a/checkpoints").glob("step-*.h5"))]
    assert found == (after if fault == "vanished" else before + after)
    assert fault != "vanished" or [path.name for path in sorted(Path("gone/checkpoints").iterdir())] == [
        checkpoint.name(step) for step in before
    ]
    if fault != "vanished":
        records = [json.loads(line)["epoch"] for line in Path("a/metrics.jsonl").read_text().splitlines()]
        assert records == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.slow
def test_the_best_is_judged_by_the_validation_split():
    options = ["--epochs", 4, "--validation-split", 0.2, "--keep-checkpoints", 1, "--learning-rate", 0.1]
    digest(jobs.run("python", "-m", "distcnn.train", *options, "--out", "a"))
    records = [json.loads(line) for line in Path("a/metrics.jsonl").read_text().splitlines()]
    best = max(records, key=lambda each: (each["validation_accuracy"], -each["validation_loss"]))
    assert checkpoint.load("a/checkpoints/best.h5").step == best["step"]
    assert set(names("a/checkpoints")) == {"best.h5", *(f"step-{step:08d}.h5" for step in (best["step"], 40))}
