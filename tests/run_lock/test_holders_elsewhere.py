"""Holders on other hosts: a heartbeat shows that they live, and without one they are dead after a while."""

import os
import socket
from pathlib import Path

import pytest

from distcnn.errors import FolderInUse
from distcnn.run import lock_file
from distcnn.run.run_lock import NAME
from distcnn.system.processes import this_process
from tests.helpers.locks import (
    OTHER,
    TOKEN,
    contents,
    elsewhere,
    lock,
    plant,
    record,
)

ELSEWHERE = {
    "another host": {},
    "the same host name after a reboot": {"host": socket.gethostname(), "pid": os.getpid()},
    "another container": {"host": socket.gethostname(), "boot": this_process().boot, "namespaces": "pid:[1]"},
}


@pytest.mark.parametrize("changes", ELSEWHERE.values(), ids=ELSEWHERE)
@pytest.mark.parametrize("when", [0.5, 29.5])
def test_a_heartbeat_shows_that_a_holder_elsewhere_lives(clock, capsys, changes, when):
    path = plant(record(elsewhere(**changes)))
    clock.then[when] = lambda: os.utime(path)
    with pytest.raises(FolderInUse, match=r"in use by process \d+ on "):
        lock(pause=clock.pause).hold("a")
    assert clock.now == when
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be seen from here: waiting up to 30 s for its heartbeat" in line
    assert lock_file.read(path).token == OTHER


@pytest.mark.parametrize("changes", ELSEWHERE.values(), ids=ELSEWHERE)
def test_without_a_heartbeat_a_holder_elsewhere_is_dead(clock, capsys, changes):
    plant(record(elsewhere(**changes)))
    with lock(pause=clock.pause) as one:
        one.hold("a")
        assert lock_file.read(Path("a", NAME)).token == TOKEN
    assert clock.now == 30
    assert ["waiting" in line for line in capsys.readouterr().err.splitlines()] == [True, False]


def test_who_has_been_found_dead_is_not_waited_for_again(clock, capsys):
    plant(record(elsewhere()))
    with lock(pause=clock.pause) as one:
        before = contents("a")
        one.require_free("a")
        assert contents("a") == before
        one.hold("a")
    assert clock.now == 30
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_asking_whether_a_folder_is_free_changes_nothing(dead):
    with lock() as one:
        one.require_free("missing")
        one.require_free("a")
        assert os.listdir("a") == []
        path = plant(record(dead))
        before = contents("a")
        one.require_free("a")
        path.write_bytes(record(dead, token=TOKEN).to_bytes())
        one.require_free("a")
        assert contents("a").keys() == before.keys()
        plant(record(this_process()))
        with pytest.raises(FolderInUse):
            one.require_free("a")


def test_no_clocks_are_compared(clock):
    """The other host's clock may be a year off."""
    path = plant(record(elsewhere()))
    os.utime(path, (0, 0))
    clock.then[3] = lambda: os.utime(path, (1, 1))
    with pytest.raises(FolderInUse):
        lock(pause=clock.pause).hold("a")
    os.utime(path, (2**33, 2**33))
    with lock(pause=clock.pause) as one:
        one.hold("a")


def test_a_lock_that_is_released_meanwhile_is_free(clock):
    path = plant(record(elsewhere()))
    clock.then[3] = path.unlink
    with lock(pause=clock.pause) as one:
        one.hold("a")
    assert clock.now == 3


def test_a_lock_that_another_job_gets_meanwhile_is_in_use(clock):
    plant(record(elsewhere()))
    clock.then[3] = lambda: plant(record(this_process(), token="a" * 16))
    with pytest.raises(FolderInUse, match=f"process {os.getpid()} "):
        lock(pause=clock.pause).hold("a")


def test_the_wait_has_an_end(clock):
    """Even if other hosts take the lock over, one after the other, and never beat."""

    def next_holder():
        plant(record(elsewhere(), token=os.urandom(8).hex()))
        clock.then[clock.now + 29] = next_holder

    next_holder()
    with pytest.raises(FolderInUse):
        lock(pause=clock.pause).hold("a")
    assert clock.now < 100


def test_the_wait_can_be_interrupted():
    plant(record(elsewhere()))

    def interrupt(seconds):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lock(pause=interrupt).hold("a")
    assert os.listdir("a") == [NAME]
