"""A run on disk and on the screen: metrics in a file, curves in a picture, progress where a person watches or not."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from distcnn.config.settings import Config
from distcnn.errors import OutputError
from distcnn.parallel.heartbeat import Heartbeat
from distcnn.parallel.serial import SerialComm
from distcnn.run import curves, recorder, terminal
from distcnn.run.metrics import Metrics
from distcnn.run.progress import Bar, Lines, Quiet, epoch_line, progress
from distcnn.run.run_folder import Run
from distcnn.run.training_progress import TrainingProgress

ROOT = Path(__file__).parents[1]


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


@pytest.mark.parametrize(("step", "kept"), [(0, []), (19, [1]), (20, [1, 2]), (99, [1, 2, 3])])
def test_records_of_later_steps_are_removed(metrics, step, kept):
    metrics.truncate_after(step)
    assert metrics.records() == list(map(record, kept))
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
    before = metrics.path.stat()
    metrics.truncate_after(30)
    assert metrics.path.stat() == before


def test_metrics_may_be_missing(tmp_path):
    metrics = Metrics(tmp_path / "metrics.jsonl")
    metrics.truncate_after(5)
    assert metrics.records() == []
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("path", ["/dev/full", "/proc/metrics.jsonl"])
def test_metrics_that_cannot_be_written_are_an_error(path):
    with pytest.raises(OutputError, match=path):
        Metrics(path).append(record(1))


# curves


def colored(path, color):
    """Tell whether a picture has pixels of a color."""
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
def test_curves_without_test_data_show_train_alone():
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
    ours = recorder.Recorder(run, comm, Heartbeat(comm), "x", 8, TrainingProgress())
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
    ours = recorder.Recorder(run, comm, Heartbeat(SerialComm()), "x", 8, done)
    comm.rank = 0
    ours.resume(done, record(1, validation_accuracy=0.9, validation_loss=0.3))
    assert [each["step"] for each in ours.metrics.records()] == [10]
    assert ours.score == score


@pytest.mark.usefixtures("in_folder")
@pytest.mark.parametrize(
    ("records", "path"), [([record(1)], "/proc/curves.png"), ([{"step": 1}], "curves.png")]
)
def test_curves_that_fail_are_a_warning(records, path):
    warnings = []
    drawn(records, path, warn=warnings.append)
    assert [line.startswith("no curves drawn: ") for line in warnings] == [True]
    assert os.listdir() == []


# progress

SHOW = """
import sys
from distcnn.run.progress import progress
show = progress(sys.argv[1], 2, 200)
for epoch in (1, 2):
    show.step(epoch, 0.5, 0.75, 100)
    show.epoch({"epoch": epoch, "train_loss": 0.5, "test_accuracy": None, "samples_per_second": 9.0})
show.warn("careful")
show.close()
show.say("weights_sha256 abc")
"""
LINES = "epoch 1/2  loss 0.5000  9 samples/s\nepoch 2/2  loss 0.5000  9 samples/s\nweights_sha256 abc\n"


def show(mode, prefix=(), **streams):
    """Run the script above in a process of its own and return it, ended."""
    command = [*prefix, sys.executable, "-c", SHOW, mode]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm"}
    return subprocess.run(command, env=environment, timeout=60, check=True, text=True, **streams)


@pytest.fixture
def screen():
    """A pseudo-terminal: a descriptor to write to, and a function that returns what was shown."""
    reader, writer = pty.openpty()

    def shown():
        os.set_blocking(reader, False)
        return os.read(reader, 100_000).decode()

    yield writer, shown
    os.close(reader)
    os.close(writer)


@pytest.fixture
def launcher(tmp_path):
    """A program with the name of an MPI launcher, which passes on what its process prints."""
    (tmp_path / "mpirun").write_text('#!/bin/sh\n"$@" 2>&1 | cat\n')
    (tmp_path / "mpirun").chmod(0o755)
    return [str(tmp_path / "mpirun")]


def test_an_epoch_is_a_line_to_read():
    line = "epoch  3/10  loss 0.3333  test loss 0.6667  test accuracy 75.00%  1,234 samples/s"
    assert epoch_line(record(3), 10) == line


@pytest.mark.parametrize("mode", ["auto", "lines"])
def test_without_a_terminal_there_is_a_line_per_epoch(mode):
    ended = show(mode, capture_output=True)
    assert (ended.stdout, ended.stderr) == (LINES, "distcnn: warning: careful\n")


def test_none_shows_only_what_must_be_said():
    ended = show("none", capture_output=True)
    assert (ended.stdout, ended.stderr) == ("weights_sha256 abc\n", "distcnn: warning: careful\n")


def test_a_bar_can_be_had_anywhere():
    ended = show("bar", capture_output=True)
    assert ended.stdout == LINES
    assert "epoch 2/2  loss 0.5000  accuracy 75.00%  100%|" in ended.stderr


def test_on_a_terminal_there_are_a_bar_and_lines_that_clear_it(screen):
    writer, shown = screen
    show("auto", stdout=writer, stderr=writer)
    text = shown()
    assert "epoch 1/2  loss 0.5000  accuracy 75.00%   50%|" in text
    assert "\r\x1b[Kepoch 2/2  loss 0.5000  9 samples/s" in text
    assert text.endswith("\r\x1b[Kweights_sha256 abc\r\n")


def test_lines_in_a_file_are_plain_beside_a_bar_on_the_terminal(screen):
    writer, shown = screen
    assert show("auto", stdout=subprocess.PIPE, stderr=writer).stdout == LINES
    assert "50%|" in shown()


def test_behind_a_launcher_at_a_terminal_there_is_a_bar(screen, launcher):
    writer, shown = screen
    show("auto", launcher, stdout=writer, stderr=writer)
    text = shown()
    assert "50%|" in text
    assert "\r\x1b[Kweights_sha256 abc\r\n" in text


def test_behind_a_launcher_whose_output_is_a_file_there_are_lines(launcher, tmp_path):
    with open(tmp_path / "log", "w") as log:
        show("auto", launcher, stdout=log, stderr=log)
    assert (tmp_path / "log").read_text() == LINES.replace("weights", "distcnn: warning: careful\nweights")


def test_a_reader_who_goes_away_does_not_end_the_run():
    reader, writer = os.pipe()
    os.close(reader)
    assert show("auto", stdout=writer, stderr=subprocess.PIPE).stderr == "distcnn: warning: careful\n"
    os.close(writer)


@pytest.mark.parametrize(("mode", "kind"), [("lines", Lines), ("none", Quiet), ("bar", Bar)])
def test_the_mode_chooses_what_is_shown(mode, kind):
    shown = progress(mode, 1, 10)
    shown.close()
    assert type(shown) is kind


def test_a_dumb_terminal_is_none(screen, monkeypatch):
    monkeypatch.setattr(terminal, "_launcher", lambda: None)
    monkeypatch.setenv("TERM", "xterm")
    assert terminal.columns(screen[0]) == 80
    monkeypatch.setenv("TERM", "dumb")
    assert terminal.columns(screen[0]) is None
