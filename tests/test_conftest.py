"""The fixtures of conftest.py: one failing, hanging or dying rank is reported, soon, and leaves no process."""

import shutil
import time
from pathlib import Path

import pytest

from tests.helpers import jobs

PLANTED = """
import os, signal, time
from pathlib import Path
import pytest

@pytest.mark.mpi(timeout={timeout})
def test_planted(comm):
    Path(__file__).with_name(f"{{os.getpid()}}.pid").touch()
    comm.Barrier()
    last = comm.rank == comm.size - 1
    {body}
    comm.Barrier()

def test_of_one_process():
    pass
"""
FAILURES = {  # what the last rank does, and what is reported for 2 ranks
    "assertion": ("assert not last, 'planted'", "rank 1 of 2 failed"),
    "hang": ("last and time.sleep(1000)", "still running after 2 s"),
    "death": ("last and os.kill(os.getpid(), signal.SIGKILL)", "exit code"),
    "exit": ("last and os._exit(3)", "exit code 3"),
}


@pytest.fixture
def planted(tmp_path):
    """Write a folder of tests with this conftest, where `test_planted` has the given body."""

    def write(body, timeout=60):
        shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
        (tmp_path / "pytest.ini").write_text("[pytest]\n")
        (tmp_path / "test_planted.py").write_text(PLANTED.format(body=body, timeout=timeout))
        return tmp_path

    return write


SEVERAL = """
import os, time
import pytest

@pytest.mark.mpi(ranks=(2,), timeout=4)
@pytest.mark.parametrize("name", ["first", "death", "next", "hang", "failure", "skip", "last"])
def test_planted(comm, name):
    comm.Barrier()
    if name == "skip":
        pytest.skip("planted")
    if comm.rank:
        assert name != "failure"
        name == "hang" and time.sleep(1000)
        name == "death" and os._exit(3)
    comm.Barrier()
"""


def alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.slow
def test_failure_of_one_rank_is_reported(run, mpirun, planted, name):
    body, report = FAILURES[name]
    folder = planted(body, timeout=2 if name == "hang" else 60)
    done = run("python", "-m", "pytest", "-k", "2-ranks", cwd=folder)
    assert done.returncode == 1, done.stdout
    assert report in done.stdout
    assert "1 failed" in done.stdout
    ranks = [path.stem for path in folder.glob("*.pid")]
    assert len(ranks) == 2
    assert not any(map(alive, ranks))


def test_a_test_runs_on_one_rank_and_on_several(run, mpirun, planted):
    folder = planted("print('ranks', comm.size)")
    done = run("python", "-m", "pytest", "-v", cwd=folder)
    assert "4 passed" in done.stdout, done.stdout
    assert all(f"test_planted[{name}] PASSED" in done.stdout for name in ("1-rank", "2-ranks", "3-ranks"))
    assert len(list(folder.glob("*.pid"))) == 6


def test_a_failure_in_a_batch_is_that_of_one_test(run, mpirun, planted):
    """A test that ends the job fails; those before it have passed, those after it run in another job."""
    folder = planted("pass")
    (folder / "test_planted.py").write_text(SEVERAL)
    done = run("python", "-m", "pytest", "-v", "-rN", cwd=folder)
    assert "3 failed, 3 passed, 1 skipped" in done.stdout, done.stdout
    found = {
        "FAILED": ("death", "hang", "failure"),
        "PASSED": ("first", "next", "last"),
        "SKIPPED": ("skip",),
    }
    for outcome, names in found.items():
        assert all(f"test_planted[2-ranks-{name}] {outcome}" in done.stdout for name in names)
    assert "exit code 3" in done.stdout
    assert "still running after 4 s" in done.stdout
    assert done.stdout.count("rank 1 of 2 failed") == 1


def test_a_batch_is_one_job(run, mpirun, planted):
    folder = planted("pass")
    five = "@pytest.mark.parametrize('k', range(5))\ndef test_planted(k, comm)"
    test = folder / "test_planted.py"
    test.write_text(test.read_text().replace("def test_planted(comm)", five))
    done = run("python", "-m", "pytest", "-k", "2-ranks", cwd=folder)
    assert "5 passed" in done.stdout
    assert len(list(folder.glob("*.pid"))) == 2


def test_a_failure_at_the_end_of_a_batch_is_that_of_its_last_test(run, mpirun, planted):
    done = run(
        "python", "-m", "pytest", "-k", "2-ranks", cwd=planted("import atexit; atexit.register(os._exit, 4)")
    )
    assert "1 failed" in done.stdout
    assert "exit code 4" in done.stdout


def test_a_skip_on_the_ranks_is_a_skip(run, mpirun, planted):
    done = run("python", "-m", "pytest", "-k", "2-ranks", cwd=planted("pytest.skip('planted')"))
    assert "1 skipped" in done.stdout, done.stdout


def test_ranks_of_an_outer_job_run_the_marked_tests(mpirun, planted):
    command = ("python", "-m", "pytest", "--with-mpi", "--color=no")  # Open MPI gives ranks a terminal
    done = mpirun(2, *command, cwd=planted("assert comm.size == 2"))
    assert done.returncode == 0, jobs.show(done)
    assert done.stdout.count("1 passed, 1 deselected") == 1


def test_ranks_of_an_outer_job_end_together(mpirun, planted):
    done = mpirun(2, "python", "-m", "pytest", "--with-mpi", cwd=planted("assert not last"), timeout=20)
    assert done.returncode == 1
    assert "rank 1 of 2 failed" in done.stderr


def test_ranks_do_not_start_jobs_of_their_own(mpirun, planted):
    done = mpirun(2, "python", "-m", "pytest", cwd=planted("pass"))
    assert done.returncode != 0
    assert "add --with-mpi" in done.stderr


def test_a_command_that_hangs_is_ended_with_all_it_started(run):
    code = "import os, subprocess, sys; p = subprocess.Popen(['sleep', '1000'], start_new_session=True); "
    code += "print(p.pid, flush=True); p.wait()"
    with pytest.raises(AssertionError, match="still running after 1 s") as caught:
        run("python", "-c", code, timeout=1)
    pid = next(line for line in str(caught.value).splitlines() if line.isdigit())
    deadline = time.monotonic() + 5
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pid)


INTERRUPTED = """
import subprocess, sys
HEEDS = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"

def test_what_is_started_heeds_ctrl_c():
    assert subprocess.check_output([sys.executable, "-c", HEEDS]) == b"True\\n"
"""


def test_what_tests_start_heeds_ctrl_c(run, planted):
    """Also if this process ignores it, as in the background of a script."""
    folder = planted("pass")
    (folder / "test_planted.py").write_text(INTERRUPTED)
    words = "sh", "-c", 'trap "" INT; exec "$0" -m pytest', "python"
    done = run(*words, cwd=folder)
    assert "1 passed" in done.stdout, jobs.show(done)
