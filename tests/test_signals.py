"""StopRequest: a run with a limit of time stops while enough of it is left."""

import os
import signal
import subprocess
import sys
import time

import pytest

from distcnn.system import signals
from tests.helpers import jobs

# A command that takes for ever to import NumPy:
IMPORTING = """
import runpy, sys, time

class Slow:
    def find_spec(name, path, target=None):
        if name == "numpy":
            print("importing", flush=True)
            time.sleep(1000)

sys.meta_path.insert(0, Slow)
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
COMMANDS = "train", "evaluate", "predict", "verify", "launch", "data", "bench tiles"


@pytest.mark.parametrize(
    ("age", "seconds", "limit", "stops"),
    [(0, 1, 100, 94), (0, 10, 100, 80), (0, 10, 2000, 1930), (0, 200, 100, 200), (50, 1, 100, 44)],
)
def test_as_long_as_two_of_the_longest_steps_are_possible(monkeypatch, age, seconds, limit, stops):
    """A twentieth of the time, at most a minute, is for saving; what this process took to start counts, too."""
    now = [1000.0]
    monkeypatch.setattr(signals.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(signals, "_age", lambda: age)
    request = signals.StopRequest(limit)
    while not request.requested:
        now[0] += seconds
    assert now[0] - 1000 == stops


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_the_time_counts_from_the_start_of_the_process(run):
    begin = time.monotonic()
    done = run("python", "-c", "from distcnn.system import signals; print(signals._age())")
    tick = 1 / os.sysconf("SC_CLK_TCK")
    assert 0 < float(done.stdout) <= time.monotonic() - begin + tick


def test_without_a_limit_it_goes_on(monkeypatch):
    monkeypatch.setattr(signals.time, "monotonic", lambda: 1e12)
    assert not signals.StopRequest().requested


@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_while_a_command_imports_ends_it_without_a_word(command, tmp_path):
    words = [sys.executable, "-c", IMPORTING, *f"distcnn.{command}".split()]
    pipes = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    environment = jobs.clean_environment({})
    with subprocess.Popen(words, cwd=tmp_path, env=environment, text=True, **pipes) as process:
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=jobs.LIMIT) == ("", "")
    assert process.returncode == signals.INTERRUPTED


def test_a_command_that_ignores_ctrl_c_goes_on_to_ignore_it():
    """As in the background of a script."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        signals.interrupts_exit()
        signals.interrupts_raise()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
