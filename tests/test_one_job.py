"""One job at a time in a run's folder: commands, launchers and jobs that lose ranks, as a user starts them."""

import json
import os
import shutil
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from distcnn.errors import FolderInUse
from distcnn.run import checkpoint, lock_file
from distcnn.run.lock_record import Record
from distcnn.run.run_lock import NAME, RunLock
from distcnn.system import job_status
from distcnn.system.processes import this_process
from tests.helpers import jobs
from tests.helpers.digests import digest, train_here, uninterrupted
from tests.programs import FAULTS

TRAIN = "python", "-m", "distcnn.train", "--progress", "none"
LONG = "--epochs", 1000, "--checkpoint-every", 1, "--out", "a"
LOCK = Path("a", NAME)

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(job_status.LOCK, "")  # so that it is restored, whoever changes it
    monkeypatch.delenv(job_status.LOCK)


@contextmanager
def started(*words):
    """Start a command that trains in the folder a; yield the job when it has checkpoints."""
    job = jobs.Job(*words)
    try:
        wait_until(lambda: len(checkpoints()) > 1, job)
        yield job
    finally:
        job.end()


def wait_until(condition, job, seconds=jobs.LIMIT):
    end = time.monotonic() + seconds
    while not condition():
        assert not job.wait(0.05), jobs.show(job.result())
        assert time.monotonic() < end, jobs.show(job.result())


def wanted(steps):
    """Return the digest after so many steps of what trains 1,000 epochs."""
    return train_here(steps, ("--epochs", "1000"))


def checkpoints():
    return sorted(Path("a/checkpoints").glob("step-*.h5"))


def stop(pid):
    """Stop a process, and wait until all of its threads have stopped."""
    os.kill(pid, signal.SIGSTOP)
    jobs.wait_until(lambda: states(pid) == {"T"})


def states(pid):
    """Return the states of a process's threads, as in `ps`."""
    return {path.read_text().rpartition(") ")[2][0] for path in Path(f"/proc/{pid}/task").glob("*/stat")}


def trainers(job):
    """Return the processes of training that a job has started, in order of their numbers."""
    return [pid for pid in jobs.members(job.name) if b"--epochs" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def contents():
    files = [path for path in Path("a").rglob("*") if path.is_file()]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def refusal(done):
    """Return the one line in which a job was refused."""
    assert done.returncode == 2, jobs.show(done)
    (line,) = [
        each for each in done.stderr.splitlines() if each.startswith("distcnn: ")
    ]  # Open MPI adds its own
    assert done.stdout == ""
    return line


SECOND = {
    "the same": [*TRAIN, "--out", "a"],
    "resumed": [*TRAIN, "--out", "a", "--resume", "auto"],
    "another setting": [*TRAIN, "--out", "a", "--resume", "auto", "--seed", 7],
    "launched": ["python", "-m", "distcnn.launch", "-n", 1, "--", "--out", "a", "--resume", "auto"],
    "by another name": [*TRAIN, "--out", "link/../a/.", "--resume", "auto"],
}


def test_the_second_job_is_refused_in_one_line_and_has_changed_nothing():
    os.mkdir("link")
    with started(*TRAIN, *LONG) as job:
        (pid,) = trainers(job)
        stop(pid)  # it lives, but changes nothing
        before, since = contents(), json.loads(LOCK.read_text())["since"]
        for words in (*SECOND.values(), [*TRAIN, "--resume", checkpoints()[0]]):
            line = refusal(jobs.run(*words))
            assert f"in use by process {pid} on {os.uname().nodename} since {since}: wait for its end" in line
        assert contents() == before
        for command in ("evaluate", "verify"):  # readers need no lock
            done = jobs.run(
                "python", "-m", f"distcnn.{command}", "a" if command == "verify" else checkpoints()[0]
            )
            assert done.returncode == 0, jobs.show(done)
        assert contents() == before
        os.kill(pid, signal.SIGCONT)
        os.kill(pid, signal.SIGTERM)  # the remedy
        assert job.wait(jobs.LIMIT)
        assert job.result().returncode == 75
    assert not LOCK.exists()
    assert jobs.run(*SECOND["resumed"], "--epochs", 1000, "--max-steps", 1).returncode == 0


def test_the_second_job_of_several_ranks_is_refused_once(mpirun):
    with started(*TRAIN, *LONG):
        assert "in use by process" in refusal(mpirun(2, *TRAIN, "--out", "a", "--resume", "auto"))


def test_after_a_kill_the_next_job_goes_on_at_once():
    with started(*TRAIN, *LONG) as job:
        for pid in jobs.members(job.name):
            os.kill(pid, signal.SIGKILL)
        job.wait(jobs.LIMIT)
    assert LOCK.exists()
    steps = checkpoint.newest("a/checkpoints", pytest.fail)[1].step + 10
    done = jobs.run(*TRAIN, "--out", "a", "--resume", "auto", "--epochs", 1000, "--max-steps", steps)
    assert digest(done) == wanted(steps)
    assert done.stderr == ""
    assert not LOCK.exists()


IMPATIENT = (  # training, but without a heartbeat for a second a holder elsewhere is dead
    "-c",
    "from distcnn import train; from distcnn.run import lock_holder; lock_holder.PATIENCE = 1; "
    "train.run_command(train.main)",
)


def test_a_job_on_another_host_is_known_by_its_heartbeat():
    """A name of its own makes another host of this one: nothing here can see its processes."""
    if os.geteuid() or not shutil.which("unshare"):
        pytest.skip("takes root and unshare, to give a process another host name")
    elsewhere = "unshare", "--uts", "sh", "-c", 'hostname elsewhere; exec "$@"', "sh"
    with started(*elsewhere, sys.executable, *TRAIN[1:], *LONG) as job:
        done = jobs.run(*TRAIN, "--out", "a", "--resume", "auto")
        assert done.returncode == 2, jobs.show(done)
        waits, refused = done.stderr.splitlines()
        assert "on elsewhere since" in waits
        assert "waiting up to 30 s for its heartbeat" in waits
        assert refused.startswith("distcnn: error: a: in use by process ")
        for pid in jobs.members(job.name):
            os.kill(pid, signal.SIGKILL)
        job.wait(jobs.LIMIT)
    steps = checkpoint.newest("a/checkpoints", pytest.fail)[1].step + 10
    words = *TRAIN[3:], "--out", "a", "--resume", "auto", "--epochs", 1000, "--max-steps", steps
    done = jobs.run("python", *IMPATIENT, *words)
    assert digest(done) == wanted(steps)
    assert ["no heartbeat for 1 s and is dead" in line for line in done.stderr.splitlines()] == [False, True]


ENDS = {
    "done": (["--max-steps", 2], 0),
    "a mistake in the data": (["--data", "missing.h5"], 2),
    "a mistake in the model": (["--model", "none"], 2),
    "diverged": (["--learning-rate", 1e30], 3),
    "out of time": (["--max-time", 1e-3], 75),
}


@pytest.mark.parametrize(("words", "code"), ENDS.values(), ids=ENDS)
def test_the_lock_is_released_at_the_end(words, code):
    os.mkdir("a")
    assert jobs.run(*TRAIN, "--out", "a", *words).returncode == code
    assert not LOCK.exists()
    assert (code == 2) == (os.listdir("a") == [])


@pytest.mark.parametrize("kind", [jobs.run, jobs.mpirun])
def test_the_lock_is_released_after_ctrl_c(request, kind):
    if kind is jobs.mpirun:
        request.getfixturevalue("mpirun")
    words = [*TRAIN, *LONG] if kind is jobs.run else [jobs.launcher(), "-n", 2, *TRAIN, *LONG]
    with started(*words) as job:
        for pid in trainers(job):
            if b"python" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]:
                os.kill(pid, signal.SIGINT)
        assert job.wait(jobs.LIMIT)
    assert not LOCK.exists()


# ---- the lock is never free while a job lives ----


def refused_until_the_end(job, meanwhile):
    """Ask for the lock again and again until a job has ended; return how often, and do things meanwhile.

    meanwhile: functions, each called once when it returns true for the number of attempts.
    """
    attempts, todo = 0, list(meanwhile)
    while LOCK.exists() or not attempts:
        with RunLock(f"{attempts:016x}", [this_process()], pause=pytest.fail) as lock:
            try:
                lock.hold("a")
            except FolderInUse:
                attempts += 1
            else:  # free: then the job has released it, and writes no more
                before = contents()
                job.wait(jobs.LIMIT)
                assert contents() == before
                return attempts
        if todo and todo[0](attempts):
            todo.pop(0)
        time.sleep(0.002)
    return attempts


def test_a_launcher_keeps_the_lock_while_jobs_die(mpirun):
    words = "python", "-m", "distcnn.launch", "-n", 2, "--", *LONG, "--max-steps", 250, "--progress", "none"

    def kill_ranks(attempts):
        ranks = [pid for pid in trainers(job) if pid != job._process.pid]
        ready = len(checkpoints()) > 2 and len(ranks) > 1
        for pid in ranks if ready else []:
            os.kill(pid, signal.SIGKILL)
        return ready

    with started(*words) as job:
        assert refused_until_the_end(job, [kill_ranks]) > 10
        assert job.wait(jobs.LIMIT)
        done = job.result()
    assert "restart 1 of 100" in done.stderr
    assert digest(done) == wanted(250)
    assert list(Path("a").glob(".*")) == []


def test_with_ulfm_the_lock_outlives_rank_0():
    if not jobs.tolerant():
        pytest.skip("only Open MPI 5 survives the death of a rank")
    faults = "slow@step:0:20,slow@step:1:20,death@step:0:25,death@step:1:30"
    words = "python", FAULTS, faults, *LONG, "--max-steps", 60, "--progress", "none"
    with started(jobs.launcher(), "--with-ft", "ulfm", "-n", 3, *words) as job:
        assert refused_until_the_end(job, []) > 10
        assert job.wait(jobs.LIMIT)
        done = job.result()
    assert digest(done) == wanted(60)
    assert done.stderr.count(" died ") == 2
    assert list(Path("a").glob(".*")) == []


def test_a_new_folder_of_two_jobs_is_that_of_one():
    both = [jobs.Job(*TRAIN, "--out", "a", "--resume", "auto") for _ in range(2)]
    try:
        assert all(job.wait(jobs.LIMIT) for job in both)
        done = sorted((job.result() for job in both), key=lambda each: each.returncode)
    finally:
        for job in both:
            job.end()
    assert digest(done[0]) == uninterrupted(120)  # all steps
    if done[1].returncode:  # else it has come when the first had ended
        assert "in use by process" in refusal(done[1]) or "holds a run" in refusal(done[1])
    records = [json.loads(line)["step"] for line in Path("a/metrics.jsonl").read_text().splitlines()]
    assert records == sorted(set(records))
    assert list(Path("a").glob(".*")) == []


# ---- a job that was taken for dead ----


@pytest.mark.parametrize("ranks", [0, 2])
def test_a_job_that_has_lost_the_lock_stops_without_writing(request, ranks):
    """As if its host had been stopped, and a job on another host had taken its place."""
    if ranks:
        request.getfixturevalue("mpirun")
    other = Record("f" * 16, "2026-01-02 03:04:05+00:00", None, (this_process()._replace(host="node17"),))
    words = [jobs.launcher(), "-n", ranks] if ranks else []
    with started(*words, *TRAIN, *LONG) as job:
        for pid in trainers(job):
            stop(pid)
        lock_file.replace(LOCK, other)
        before = contents()
        for pid in trainers(job):
            os.kill(pid, signal.SIGCONT)
        assert job.wait(jobs.LIMIT)
        done = job.result()
    assert done.returncode == 2, jobs.show(done)
    (line,) = [line for line in done.stderr.splitlines() if "error" in line]
    assert "on node17 since 2026-01-02 03:04:05+00:00 has got the lock; this job has stopped" in line
    after = contents()
    assert all(after[path] == before[path] for path in before if not path.name.endswith(".tmp"))
    new = [path.name for path in after if path not in before]
    assert all(name.startswith("step-") for name in new)  # which it was writing when it was stopped
    assert len(new) < 2
    assert lock_file.read(LOCK).token == other.token
