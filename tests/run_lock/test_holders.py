"""One job has the lock: a second is refused, and one that is dead on this host is replaced at once."""

import json
import os
import socket
from pathlib import Path

from distcnn.run import lock_file
from distcnn.run.run_lock import NAME
from distcnn.system.processes import this_process
from tests.helpers.locks import (
    OTHER,
    TOKEN,
    complaint,
    lock,
    plant,
    record,
)


def test_the_second_job_is_refused_and_named_the_first(monkeypatch):
    with lock() as one:
        one.hold("a")
        said = complaint(lock(OTHER))
        here = this_process()
        since = json.loads(Path("a", NAME).read_bytes())["since"]
        assert said == (
            f"a: in use by process {here.pid} on {socket.gethostname()} since {since}: "
            "wait for its end, stop it, or choose another --out"
        )
        one.hold("a")  # it has it already
    assert os.listdir("a") == []
    with lock(OTHER) as other:
        other.hold("a")
        assert os.listdir("a") == [NAME]


def test_a_dead_holder_on_this_host_is_replaced_at_once(dead, capsys):
    plant(record(dead))
    with lock() as one:
        one.hold("a")
        assert lock_file.read(Path("a", NAME)).token == TOKEN
        assert os.listdir("a") == [NAME]
    assert capsys.readouterr().err == ""


def test_a_recycled_number_in_a_lock_is_dead():
    here = this_process()
    plant(record(here._replace(start=here.start - 1)))
    with lock() as one:
        one.hold("a")


def test_a_job_lives_while_any_of_its_ranks_does(dead):
    """Under ULFM another rank becomes rank 0."""
    plant(record(dead, this_process()))
    assert f"process {os.getpid()} on " in complaint(lock())
    plant(record(dead, dead, launcher=dead))
    with lock() as one:
        one.hold("a")


def test_a_lock_is_released_only_by_its_holder():
    one = lock()
    one.hold("a")
    plant(record(this_process()))
    one.release()
    assert lock_file.read(Path("a", NAME)).token == OTHER


def test_another_folder_releases_the_one_before():
    os.mkdir("b")
    with lock() as one:
        one.hold("a")
        one.hold("b")
        assert (os.listdir("a"), os.listdir("b")) == ([], [NAME])
    assert os.listdir("b") == []


# ---- another rank becomes rank 0 ----


def test_another_rank_keeps_the_lock_of_its_job(dead):
    plant(record(dead, this_process(), token=TOKEN))
    with lock() as rank:
        rank.keep("a")
        assert rank.check()
    assert os.listdir("a") == []


def test_another_rank_that_comes_too_late_does_not_write():
    plant(record(this_process()))
    with lock() as rank:
        rank.keep("a")
        assert not rank.check()
        assert "in use by process" in rank.lost
    assert lock_file.read(Path("a", NAME)).token == OTHER
