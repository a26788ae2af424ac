"""The lock of a run's folder: one job at a time, dead holders known, on this host at once, on others by heartbeat."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from distcnn import launch
from distcnn.config.parser import parse as parse_options
from distcnn.errors import FolderInUse, OutputError, Stopped
from distcnn.run import lock_file, lock_holder, run_lock
from distcnn.run.lock_record import LIMIT, Record, parse
from distcnn.run.run_lock import NAME, RunLock
from distcnn.system import job_status, processes
from distcnn.system.processes import UNKNOWN, is_alive, this_process
from tests.helpers import jobs

CONTENDERS = Path(__file__).parent / "programs" / "lock_contenders.py"
TOKEN, OTHER = "0123456789abcdef", "fedcba9876543210"
SINCE = "2026-01-02 03:04:05+00:00"


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


def never(seconds):
    pytest.fail("waits for a heartbeat")


def lock(token=TOKEN, pause=never, **keywords):
    return RunLock(token, [this_process()], pause=pause, **keywords)


def plant(record, folder="a"):
    """Write a lock as another job would; return its path."""
    path = Path(folder, NAME)
    path.write_bytes(record if isinstance(record, bytes) else record.to_bytes())
    return path


def record(*processes, token=OTHER, launcher=None):
    return Record(token, SINCE, launcher, processes)


@pytest.fixture
def dead():
    """A process that has ended."""
    words = "from distcnn.system.processes import this_process as p; print(*p(), sep='|')"
    host, boot, namespaces, pid, start = jobs.run("python", "-c", words).stdout.strip().split("|")
    return processes.Process(host, boot, namespaces, int(pid), int(start))


def elsewhere(**changes):
    return this_process()._replace(**{"host": "node17", "boot": "another", "pid": 4711} | changes)


def complaint(one, folder="a"):
    """Return why a job is refused, which changes nothing in the folder."""
    before = contents(folder), os.stat(folder)
    with pytest.raises(OutputError) as caught:
        one.hold(folder)
    one.release()
    assert contents(folder) == before[0]
    assert os.stat(folder).st_mtime_ns == before[1].st_mtime_ns
    assert "\n" not in str(caught.value)
    return str(caught.value)


def contents(folder):
    return {
        path.name: (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in Path(folder).iterdir()
    }


# ---- processes ----


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


# ---- one job at a time ----


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


# ---- holders elsewhere ----

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


# ---- what lies in a lock's place ----

FIELDS = json.loads(record(elsewhere()).to_bytes())
DAMAGED = {
    "empty": b"",
    "cut": record(elsewhere()).to_bytes()[:-5],
    "not JSON": b"\xff\x00" * 100,
    "deep": b"[" * 100_000,
    "a list": b"[]",
    "no processes": json.dumps(FIELDS | {"processes": []}).encode(),
    "a path for a token": json.dumps(FIELDS | {"token": "../../../../../x"}).encode(),
    "a number of a group": json.dumps(
        FIELDS | {"processes": [FIELDS["processes"][0] | {"pid": -1}]}
    ).encode(),
    "a float for a number": json.dumps(
        FIELDS | {"processes": [FIELDS["processes"][0] | {"pid": 1.5}]}
    ).encode(),
    "huge": b" " * (LIMIT + 1),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_lock_is_replaced_if_nobody_renews_it(clock, content):
    assert parse(content) is None
    path = plant(content)
    with lock(pause=clock.pause) as one:
        one.hold("a")
        assert lock_file.read(path).token == TOKEN
    assert os.listdir("a") == []
    assert clock.now == 30


def test_a_damaged_lock_that_its_holder_renews_is_in_use(clock):
    with lock() as one:
        one.hold("a")
        plant(b"")
        clock.then[2] = one.check
        with pytest.raises(FolderInUse, match=f"process {os.getpid()} "):
            lock(OTHER, pause=clock.pause).hold("a")
        assert lock_file.read(Path("a", NAME)).token == TOKEN


def bind(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


NO_FILES = {
    "link": lambda path: path.symlink_to("/dev/zero"),
    "link to nothing": lambda path: path.symlink_to("nothing"),
    "folder": lambda path: path.mkdir(),
    "pipe": os.mkfifo,
    "socket": bind,
}


@pytest.mark.parametrize("make", NO_FILES.values(), ids=NO_FILES)
def test_what_is_not_a_file_is_refused_and_stays(make):
    path = Path("a", NAME)
    make(path)
    kind = path.lstat().st_mode
    with pytest.raises(OutputError, match=r"\.lock: cannot be read: .*: remove it, or choose another --out"):
        lock().hold("a")
    assert path.lstat().st_mode == kind
    assert os.listdir("a") == [NAME]
    shutil.rmtree(path) if path.is_dir() else path.unlink()  # the remedy
    with lock() as one:
        one.hold("a")


def test_names_in_a_lock_are_shown_as_text(clock):
    """Whoever can write to the folder could have planted them."""
    path = plant(record(elsewhere(host="\x1b[2Jnode" + "x" * 10_000)))
    clock.then[1] = lambda: os.utime(path)
    with pytest.raises(FolderInUse) as caught:
        lock(pause=clock.pause).hold("a")
    assert len(str(caught.value)) < 500  # and `say`, which prints it, shows \x1b


# ---- heartbeats ----


def test_a_holder_beats(monkeypatch):
    monkeypatch.setattr(run_lock, "BEAT", 0.01)
    path, beaten, before = Path("a", NAME), threading.Event(), threading.enumerate()
    with lock() as one:
        check = one.check
        monkeypatch.setattr(one, "check", lambda: check() and not beaten.set())
        one.hold("a")
        os.utime(path, (0, 0))
        beaten.clear()
        assert beaten.wait(60)
        assert path.stat().st_mtime > 0
    assert set(threading.enumerate()) <= set(before)


def test_a_lock_that_was_removed_is_made_again():
    with lock() as one:
        one.hold("a")
        os.unlink(f"a/{NAME}")
        assert one.check()
        complaint(lock(OTHER))


def test_a_folder_that_is_gone_is_no_error():
    with lock() as one:
        one.hold("a")
        os.rename("a", "b")
        assert one.check()
        Path("a").write_text("")
        assert one.check()
        os.unlink("a")
        os.mkdir("a")
        assert one.check()
        assert os.listdir("a") == [NAME]
        assert not one.warnings


def test_a_holder_that_was_taken_for_dead_writes_no_more():
    """As when this process, or its host, was stopped for longer than others wait."""
    with lock() as one:
        one.hold("a")
        path = plant(record(elsewhere()))
        os.utime(path, (0, 0))
        assert not one.check()
        assert "process 4711 on node17 since 2026-01-02 03:04:05+00:00 has got the lock" in one.lost
        assert not one.check()
        assert path.stat().st_mtime == 0
    assert lock_file.read(path).token == OTHER


def test_an_error_of_the_disk_is_one_warning(monkeypatch):
    with lock() as one:
        one.hold("a")

        def fail(*arguments, **keywords):
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(run_lock.os, "utime", fail)
        assert one.check()
        assert one.check()
        (warning,) = one.warnings
        assert "Input/output error" in warning
        assert "training continues" in warning


# ---- launchers and their jobs ----


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


# ---- file systems ----


def without_links(source, target):
    raise PermissionError(1, "Operation not permitted")


def with_lost_answers(source, target, link=os.link):
    """As NFS, when the answer to a link is lost and the client asks again."""
    link(source, target)
    raise FileExistsError(17, "File exists")


@pytest.mark.parametrize("link", [without_links, with_lost_answers])
def test_other_file_systems(monkeypatch, dead, link):
    monkeypatch.setattr(lock_file.os, "link", link)
    plant(record(dead))
    with lock() as one:
        one.hold("a")
        complaint(lock(OTHER))
    assert os.listdir("a") == []


@pytest.mark.parametrize("folder", ["missing", "/proc", "file"])
def test_a_folder_that_cannot_be_written_is_refused(folder):
    Path("file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        lock().hold(folder)


def test_a_full_disk_at_the_start_is_refused_and_later_none(monkeypatch):
    def fail(path, record):
        raise OSError(28, "No space left on device")

    with lock() as one:
        one.hold("a")
        monkeypatch.setattr(lock_file, "_write_new", fail)
        with lock() as rank:  # another rank of the job, which has become rank 0
            rank.keep("a")
            assert rank.check()
            assert not rank.warnings
        assert os.listdir("a") == []  # so the first one has to make it again
        assert one.check()
        assert "No space left" in one.warnings[0]
        said = complaint(lock(OTHER))  # the other has none, but there is no room for its own either
        assert said == "a: cannot be written: No space left on device; make room, or choose another --out"


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


# ---- many jobs at once ----


@pytest.mark.parametrize("seed", range(3))
def test_of_many_jobs_that_find_a_dead_lock_one_gets_it(dead, seed):
    """Each dies with the lock, and anywhere on the way; the others take it over, one after the other."""
    plant(record(dead))
    environment = jobs.clean_environment({})
    started = [
        subprocess.Popen(
            [sys.executable, CONTENDERS, "a", str(16 * seed + k)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for k in range(12)
    ]
    assert [each.stdout.readline() for each in started] == ["ready\n"] * len(started)
    Path("a/go").touch()
    said = [(each.communicate(timeout=120)[1], each.returncode) for each in started]
    os.unlink("a/go")
    assert said == [("", -signal.SIGKILL)] * len(started)
    had = Path("a/log").read_text().split()
    assert len(had) == len(set(had)) > 2
    with lock() as one:
        one.hold("a")
        assert sorted(os.listdir("a")) == [NAME, "log"]


def test_a_job_that_has_judged_long_ago_replaces_no_later_lock(dead, monkeypatch):
    """Of two jobs that have found the same dead record, one is slow: the other has got the lock meanwhile."""
    plant(record(dead))
    read = lock_file.read

    def slow(where):
        found = read(where)
        if where.name == NAME and found.token == OTHER:
            monkeypatch.setattr(lock_file, "read", read)
            other.hold("a")
        return found

    monkeypatch.setattr(lock_file, "read", slow)
    with lock("b" * 16) as other, pytest.raises(FolderInUse):
        lock().hold("a")
    assert os.listdir("a") == []


def test_a_job_that_has_died_while_it_took_over_is_replaced(dead):
    path = plant(record(dead))
    second = path.with_name(f"{NAME}.{OTHER}")
    second.write_bytes(record(dead, token="c" * 16).to_bytes())
    path.with_name(f".{NAME}.0a1b2c3d.tmp").write_bytes(b"")
    with lock() as one:
        one.hold("a")
        assert os.listdir("a") == [NAME]


def test_traces_tell_every_change():
    path = plant(record(elsewhere()))
    found = [lock_file.read(path)]
    os.utime(path, (5, 5))
    found.append(lock_file.read(path))
    os.truncate(path, 100)
    os.utime(path, (5, 5))
    found.append(lock_file.read(path))
    assert len({each.trace for each in found}) == 3
    assert [each.token == OTHER for each in found] == [True, True, False]
