"""What a run shows: a bar on a terminal, lines elsewhere, and which of them `--progress` chooses."""

import os
import pty
import subprocess
import sys

import pytest

from distcnn.run.progress_bar import Bar, Lines, Quiet, epoch_line, progress
from distcnn.system import terminal
from distcnn.system.terminal_text import ERASE_BELOW
from tests.helpers import jobs

RECORD = {
    "epoch": 3,
    "train_loss": 1 / 3,
    "test_loss": 2 / 3,
    "test_accuracy": 0.75,
    "samples_per_second": 1234.5,
}
SHOW = """
import sys
from distcnn.run.progress_bar import progress
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
    environment = os.environ | {"PYTHONPATH": str(jobs.ROOT), "TERM": "xterm"}
    return subprocess.run(command, env=environment, timeout=jobs.LIMIT, check=True, text=True, **streams)


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
    assert epoch_line(RECORD, 10) == line


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
    assert ERASE_BELOW + "epoch 2/2  loss 0.5000  9 samples/s\r\n" in text
    assert text.endswith(ERASE_BELOW + "weights_sha256 abc\r\n")


def test_lines_in_a_file_are_plain_with_a_bar_on_the_terminal(screen, tmp_path):
    writer, shown = screen
    with open(tmp_path / "log", "w") as log:
        show("auto", stdout=log, stderr=writer)
    assert (tmp_path / "log").read_text() == LINES
    assert "50%|" in shown()


@pytest.mark.parametrize(("mode", "bar"), [("auto", False), ("bar", True)])
def test_lines_in_a_pipe_are_plain_without_a_bar_that_nobody_asked_for(screen, mode, bar):
    """The pipe may lead to the same terminal, as with tee, and there the bar would be in the way."""
    writer, shown = screen
    assert show(mode, stdout=subprocess.PIPE, stderr=writer).stdout == LINES
    assert ("50%|" in shown()) == bar


def test_behind_a_launcher_at_a_terminal_there_is_a_bar(screen, launcher):
    writer, shown = screen
    show("auto", launcher, stdout=writer, stderr=writer)
    text = shown()
    assert "50%|" in text
    assert ERASE_BELOW + "weights_sha256 abc\r\n" in text


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
