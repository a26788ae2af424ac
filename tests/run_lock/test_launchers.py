"""A launcher has the lock, and its jobs join it."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from distcnn import launch
from distcnn.config.parser import parse as parse_options
from distcnn.errors import Stopped
from distcnn.run import lock_file, run_lock
from distcnn.run.run_lock import NAME
from distcnn.system import job_status, processes
from distcnn.system.processes import this_process
from tests.helpers.locks import (
    OTHER,
    complaint,
    elsewhere,
    lock,
    never,
    plant,
    record,
)


def launcher(monkeypatch, process=None):
    made = run_lock.launcher_lock(never)
    made._record = replace(made._record, launcher=process or this_process())
    monkeypatch.setenv(job_status.LOCK, made.token)
    return made


def test_a_job_joins_the_lock_of_its_launcher(monkeypatch, dead):
    with launcher(monkeypatch) as ours:
        ours.hold("a")
        for _ in range(2):  # jobs, one after the other
            with lock(run_lock.job_token()) as job:
                job.hold("a")
                there = lock_file.read(Path("a", NAME)).record
                assert there.launcher == this_process()
                assert there.processes == (this_process(),)
                assert ours.check()
                assert job.check()
                complaint(lock(OTHER))
            complaint(lock(OTHER))  # it is still the launcher's
        assert ours.check()
    assert os.listdir("a") == []


def test_a_job_that_outlives_its_launcher_keeps_the_lock_and_releases_it(monkeypatch, clock, dead, capsys):
    ours = launcher(monkeypatch, dead)
    ours.hold("a")
    with lock(run_lock.job_token()) as job:
        job.hold("a")
        assert f"process {os.getpid()} " in complaint(lock(OTHER, pause=clock.pause))
        (line,) = capsys.readouterr().err.splitlines()
        assert "whose launcher has died: waiting up to 30 s for its end" in line
    assert clock.now == 30
    assert os.listdir("a") == []


def test_the_next_launcher_waits_for_the_last_ranks_of_one_that_was_killed(clock, dead):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        _, _, start = processes._state(child.pid)
        plant(record(this_process()._replace(pid=child.pid, start=start), launcher=dead))
        clock.then[3] = lambda: (child.kill(), child.wait())
        with lock(pause=clock.pause) as one:
            one.hold("a")
    assert clock.now == 3


def test_a_job_whose_launcher_has_lost_the_lock_is_refused(monkeypatch):
    with launcher(monkeypatch) as ours:
        ours.hold("a")
        plant(record(this_process()))
        complaint(lock(run_lock.job_token()))


def test_a_launcher_that_waits_for_a_heartbeat_can_be_asked_to_stop(monkeypatch):
    plant(record(elsewhere()))
    monkeypatch.setattr(launch.time, "sleep", lambda seconds: None)
    signals, request = launch.StopSignals(count=1), parse_options(["--out", "a"], "prog")
    with pytest.raises(Stopped, match="before training"), launch._locked(request, signals):
        pytest.fail("has the lock")
    assert os.listdir("a") == [NAME]


@pytest.mark.parametrize("token", ["", "x", "../a", "0123456789ABCDEF", "0" * 17])
def test_a_token_from_elsewhere_is_one_or_ignored(monkeypatch, token):
    monkeypatch.setenv(job_status.LOCK, token)
    assert run_lock.job_token() != token
    assert run_lock.job_token() != run_lock.job_token()
