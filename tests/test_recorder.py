"""What a run writes besides checkpoints: metrics.jsonl, curves.png, and the recorder that fills them."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from distcnn.config.settings import Config
from distcnn.errors import OutputError
from distcnn.parallel.heartbeat import Heartbeat
from distcnn.parallel.serial import SerialComm
from distcnn.run import curves, recorder
from distcnn.run.metrics_log import Metrics
from distcnn.run.run_folder import Run
from distcnn.run.run_lock import RunLock
from distcnn.run.training_progress import TrainingProgress
from tests.helpers.files import written


def record(epoch, **changes):
    measured = {"train_loss": 1 / epoch, "test_loss": 2 / epoch, "test_accuracy": 1 - 1 / (epoch + 1)}
    return {"epoch": epoch, "step": 10 * epoch, **measured, "samples_per_second": 1234.5, **changes}


# metrics


@pytest.fixture
def metrics(tmp_path):
    made = Metrics(tmp_path / "metrics.jsonl")
    for epoch in (1, 2, 3):
        made.append(record(epoch))
    return made


def test_each_record_is_one_line_of_json(metrics):
    assert [json.loads(line) for line in metrics.path.read_text().splitlines()] == list(
        map(record, (1, 2, 3))
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_what_json_lacks_becomes_null(metrics, value):
    metrics.append(record(4, test_accuracy=value))
    assert metrics.path.read_text().splitlines()[-1].count("null") == 1
    assert metrics.records()[-1]["test_accuracy"] is None


@pytest.mark.parametrize(("step", "remaining"), [(0, []), (19, [1]), (20, [1, 2]), (99, [1, 2, 3])])
def test_records_of_later_steps_are_removed(metrics, step, remaining):
    metrics.truncate_after(step)
    assert metrics.records() == list(map(record, remaining))
    assert os.listdir(metrics.path.parent) == ["metrics.jsonl"]


@pytest.mark.parametrize(
    "rest", [b'{"epoch": 4, "st', b"\xff\xfe\n", b"[]\n", b'{"epoch": 4}\n', b'{"step": 1}']
)
def test_lines_that_are_no_records_are_removed(metrics, rest):
    whole = metrics.path.read_bytes()
    metrics.path.write_bytes(whole + rest)
    assert metrics.records() == list(map(record, (1, 2, 3)))
    metrics.truncate_after(99)
    assert metrics.path.read_bytes() == whole


def test_where_nothing_is_removed_the_file_stays_the_same(metrics):
    before = written(metrics.path)
    metrics.truncate_after(30)
    assert written(metrics.path) == before


def test_metrics_may_be_missing(tmp_path):
    metrics = Metrics(tmp_path / "metrics.jsonl")
    metrics.truncate_after(5)
    assert metrics.records() == []
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("path", ["/dev/full", "/proc/metrics.jsonl"])
def test_metrics_that_cannot_be_written_are_an_error(path):
    with pytest.raises(OutputError, match=path):
        Metrics(path).append(record(1))


def test_a_link_in_the_place_of_metrics_is_not_followed(tmp_path):
    """In a folder that others can write to, it could lead to any file of this user."""
    victim = tmp_path / "key"
    victim.write_text("secret\n")
    metrics = Metrics(tmp_path / "metrics.jsonl")
    metrics.path.symlink_to(victim)
    with pytest.raises(OutputError, match="a link, not a regular file; repair or remove it"):
        metrics.append(record(1))
    assert victim.read_text() == "secret\n"
    metrics.path.unlink()
    metrics.append(record(2))
    assert [each["epoch"] for each in metrics.records()] == [1, 2]


def test_a_pipe_in_the_place_of_metrics_keeps_nobody_waiting(tmp_path):
    metrics = Metrics(tmp_path / "metrics.jsonl")
    os.mkfifo(metrics.path)
    with pytest.raises(OutputError):
        metrics.append(record(1))
    reader = os.open(metrics.path, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(OutputError, match="a pipe or a device, not a regular file"):
        metrics.append(record(1))
    os.close(reader)


# curves


def colored(path, color):
    """Return whether a picture has pixels of a color."""
    from matplotlib.colors import to_rgb
    from matplotlib.image import imread

    return bool((abs(imread(path)[..., :3] - to_rgb(color)) < 0.01).all(-1).any())


def drawn(records, path, title="", warn=pytest.fail):
    """Draw records into a picture; return its path."""
    metrics = Metrics("metrics.jsonl")
    for each in records:
        metrics.append(each)
    made = curves.Curves(metrics.path, path, title, warn)
    made.draw()
    made.finish()
    metrics.path.unlink(missing_ok=True)
    return path


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("in_folder")
@pytest.mark.parametrize("epochs", [1, 2, 50])
@pytest.mark.parametrize("title", ["lenet5 on digits", "a $b^ _c$ {d}"])
def test_curves_show_train_and_test(epochs, title):
    path = drawn(map(record, range(1, epochs + 1)), "curves.png", title)
    assert colored(path, curves.TRAIN)
    assert colored(path, curves.TEST)


@pytest.mark.usefixtures("in_folder")
def test_a_drawing_that_does_not_end_is_given_up_with_signs_of_life_meanwhile(monkeypatch):
    monkeypatch.setattr(curves, "DRAW", "import time; time.sleep(1000)")
    monkeypatch.setattr(curves, "LIMIT", 3 * curves.PAUSE)
    warnings, signs = [], []
    made = curves.Curves("metrics.jsonl", "curves.png", "", warnings.append, lambda: signs.append(1))
    made.draw()
    made.finish()
    assert len(signs) == 3
    assert warnings == ["no curves drawn: the drawing process ended with exit code -9"]


@pytest.mark.usefixtures("in_folder")
def test_images_of_a_report_reach_a_drawing_that_reads_them_late(monkeypatch):
    """Also more than a pipe takes, after the drawing has been waited for."""
    code = "import sys, time; time.sleep(0.5); sys.stderr.buffer.write(sys.stdin.buffer.read()[-2:]); sys.exit(1)"
    monkeypatch.setattr(curves, "DRAW", code)
    monkeypatch.setattr(curves, "LIMIT", 60)
    warnings = []
    made = curves.Curves("metrics.jsonl", "curves.png", "", warnings.append)
    made.report = Path("report"), np.full((25, 3, 224, 224), ord("x"), np.uint8)
    made.draw()
    made.finish()
    assert warnings == ["no curves drawn: xx"]


@pytest.mark.usefixtures("in_folder")
def test_curves_without_test_data_show_only_train():
    path = drawn([record(epoch, test_loss=None, test_accuracy=None) for epoch in (1, 2)], "curves.png")
    assert colored(path, curves.TRAIN)
    assert not colored(path, curves.TEST)


@pytest.mark.usefixtures("in_folder")
def test_curves_without_records_are_a_picture_too():
    assert not colored(drawn([], "curves.png"), curves.TRAIN)


def test_curves_are_drawn_once_for_each_record(tmp_path, monkeypatch):
    drawn, config = [], Config(progress="none", epochs=2)
    run = Run(tmp_path, config)
    monkeypatch.setattr(curves.Curves, "draw", lambda self: drawn.append(len(Metrics(run.metrics).records())))
    comm = SerialComm()
    ours = recorder.Recorder(run, comm, Heartbeat(comm), RunLock("0" * 16), "x", 8, TrainingProgress())
    for step in (1, 2):
        ours._write(record(step))
        ours.finish()
        ours.finish()
    assert drawn == [1, 2]


@pytest.mark.parametrize(("steps", "score"), [(10, (0.9, -0.3)), (15, None)])
def test_a_score_goes_to_the_state_that_it_was_found_for(tmp_path, steps, score):
    """Rank 0 has died `steps` steps after the start; this rank takes its place, and has the record of step 10."""
    run, comm = Run(tmp_path, Config(progress="none", epochs=9)), SimpleNamespace(rank=1)
    done = TrainingProgress(steps, epoch=1)
    ours = recorder.Recorder(run, comm, Heartbeat(SerialComm()), RunLock("0" * 16), "x", 8, done)
    comm.rank = 0
    ours.resume(done, record(1, validation_accuracy=0.9, validation_loss=0.3))
    assert [each["step"] for each in ours.metrics.records()] == [10]
    assert ours.score == score


@pytest.mark.usefixtures("in_folder")
@pytest.mark.parametrize(
    ("changes", "path", "reason"),
    [
        ({}, "/proc/curves.png", "/proc"),
        ({}, "missing/curves.png", "missing"),
        ({"train_loss": 10**400}, "curves.png", "OverflowError"),
    ],
)
def test_curves_that_fail_are_a_warning(changes, path, reason):
    warnings = []
    drawn([record(1, **changes)], path, warn=warnings.append)
    (line,) = warnings
    assert line.startswith("no curves drawn: ")
    assert reason in line
    assert os.listdir() == []
