"""What all tests of the lock need: a folder to work in, a clock without waits, and a process that has ended."""

import os
from types import SimpleNamespace

import pytest

from distcnn.run import lock_holder
from distcnn.system import job_status, processes
from tests.helpers import jobs


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(job_status.LOCK, "")  # so that it is restored, whoever changes it
    monkeypatch.delenv(job_status.LOCK)
    os.mkdir("a")


@pytest.fixture
def clock(monkeypatch):
    """A clock by which no wait takes time; `clock.pause` moves it and calls what `clock.then` has for this time."""
    made = SimpleNamespace(now=0.0, then={})

    def pause(seconds):
        made.now += seconds
        for when in [when for when in made.then if when <= made.now]:
            made.then.pop(when)()

    made.pause = pause
    monkeypatch.setattr(lock_holder, "time", SimpleNamespace(monotonic=lambda: made.now))
    return made


@pytest.fixture
def dead():
    """A process that has ended."""
    words = "from distcnn.system.processes import this_process as p; print(*p(), sep='|')"
    host, boot, namespaces, pid, start = jobs.run("python", "-c", words).stdout.strip().split("|")
    return processes.Process(host, boot, namespaces, int(pid), int(start))
