"""Processes in a lock: whether they live is known on this host, and unknown elsewhere."""

import os
import subprocess
import sys

import pytest

from distcnn.system import processes
from distcnn.system.processes import UNKNOWN, is_alive, this_process


def test_a_process_lives_until_it_ends():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    _, _, start = processes._state(child.pid)
    known = this_process()._replace(pid=child.pid, start=start)
    assert is_alive(known) is True
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_alive(known) is False  # a zombie, which nobody has waited for
    child.wait()
    assert is_alive(known) is False


def test_a_recycled_number_is_another_process():
    here = this_process()
    assert is_alive(here) is True
    assert is_alive(here._replace(start=here.start - 1)) is False


@pytest.mark.parametrize("change", ["host", "boot", "namespaces"])
def test_of_a_process_elsewhere_nothing_is_known(change):
    """The same host name with another boot or other namespaces is elsewhere, too."""
    assert is_alive(this_process()._replace(**{change: "other"})) is None
    assert is_alive(this_process()._replace(**{change: "other"}, pid=2**22 + 1)) is None


def test_without_a_view_of_processes_nothing_is_known(monkeypatch):
    here, state = this_process(), processes._state
    assert is_alive(here._replace(start=UNKNOWN)) is None
    monkeypatch.setattr(processes, "_state", lambda pid: state(pid) if pid == "self" else None)
    assert is_alive(here) is None  # hidden, but it exists
    monkeypatch.setattr(processes, "_state", lambda pid: (state("self")[0] + 1, "R", 5))
    assert this_process().start == UNKNOWN  # /proc is that of other namespaces
    assert is_alive(here) is None
