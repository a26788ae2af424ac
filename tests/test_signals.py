"""StopRequest: a run with a limit of time stops while enough of it is left."""

import os
import sys
import time

import pytest

from distcnn.system import signals


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
