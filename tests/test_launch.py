"""distcnn.launch: jobs that die start again with the same bits, jobs that are asked to stop save, nothing is left."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from distcnn import launch
from distcnn.run import checkpoint
from distcnn.system import job_status, mpirun
from tests.helpers import jobs
from tests.helpers.digests import uninterrupted

RANKS = 2


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def launched(mpirun, run):
    """Run the launcher to its end; it needs an mpirun."""

    def command(*words, ranks=RANKS, **keywords):
        return run("python", "-m", "distcnn.launch", "-n", ranks, *words, **keywords)

    return command


@pytest.fixture
def launching(mpirun):
    """Start the launcher, for something to happen to it."""

    @contextmanager
    def command(*words, how=("-m", "distcnn.launch")):
        line = [sys.executable, *how, "-n", str(RANKS), *map(str, words)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        environment = jobs.clean_environment({"OPTIONS": os.devnull})
        with subprocess.Popen(line, env=environment, preexec_fn=hears_hangups, **pipes) as process:
            try:
                yield process
            finally:
                process.kill()

    return command


def hears_hangups():
    """Undo what nohup has done, if these tests run under it."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


# The launcher, whose ranks do not train: they append their options to a file, and go on with other code.
WITHOUT_TRAINING = """
import sys
from distcnn import launch
then = sys.argv.pop(1)
program = f"import os, sys, time\\nprint(*sys.argv[2:], file=open(os.environ['OPTIONS'], 'a'))\\n{then}"
launch.train_command = lambda: [sys.executable, "-c", program, "distcnn.train"]
sys.exit(launch.main())
"""
FOREVER, FAIL = "time.sleep(1000)", "sys.exit(1)"
STOP = """
import glob, signal
from distcnn.system import job_status
def stop(number, frame):
    open(f"saved-{os.getpid()}", "w").close()
    while len(glob.glob("saved-*")) < 2:
        time.sleep(0.01)
    job_status.write("exit 75")
    os._exit(75)
signal.signal(signal.SIGUSR1, stop)
job_status.write(job_status.STARTED)
job_status.write(job_status.TRAINING)
time.sleep(1000)
"""


def wait_until(condition, process):
    jobs.wait_until(condition, lambda: process.poll() is not None)


def steps(folder="a"):
    return sorted(Path(folder, "checkpoints").glob("step-*.h5"))


def status_files(folder="a"):
    return list(Path(folder).glob(".launch-*"))


def ranks_of(process):
    """Return the processes of training below a launcher."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            started = b"distcnn.train" in words and words[0] == sys.executable.encode()
            cwd = os.readlink(folder / "cwd") == os.getcwd()
            if started and cwd:
                found.append(int(folder.name))
    return found


def shared_files(ranks):
    """Return the files in shared memory that these processes have mapped."""
    found = set()
    for rank in ranks:
        with suppress(OSError):
            words = Path(f"/proc/{rank}/maps").read_text().split()
            found.update(word for word in words if word.startswith("/dev/shm/"))
    return found


LONG = ["--epochs", 1000, "--checkpoint-every", 5, "--out", "a", "--progress", "none"]


def test_a_killed_job_is_started_again_and_ends_with_the_same_bits(launching):
    options = ["--max-steps", 150, "--checkpoint-every", 5]
    shared = set()
    with launching("--", *options, "--out", "a") as process:
        for _ in range(2):
            before = steps()
            wait_until(lambda before=before: steps()[-1:] > before[-1:], process)  # the job trains
            ranks = ranks_of(process)
            shared |= shared_files(ranks)
            for rank in ranks:
                with suppress(ProcessLookupError):
                    os.kill(rank, signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=jobs.LIMIT)
    assert process.returncode == 0, stderr
    assert "restart 1 of 100" in stderr
    assert stdout.splitlines()[-1] == f"weights_sha256 {uninterrupted(120)}"
    assert ranks_of(process) == []
    assert shared
    assert [path for path in shared if os.path.exists(path)] == []
    assert {path.name for path in Path("a").iterdir() if path.name.startswith(".")} == set()


@pytest.mark.parametrize("number", launch.SIGNALS)
def test_each_signal_asks_all_ranks_to_stop(launching, number):
    with launching("--", *LONG, how=("-c", WITHOUT_TRAINING, STOP)) as process:
        wait_until(
            lambda: [job_status.read(path).count("training") for path in status_files()] == [RANKS], process
        )
        process.send_signal(number)
        _, stderr = process.communicate(timeout=jobs.LIMIT)
    assert process.returncode == 75, stderr
    assert len(list(Path().glob("saved-*"))) == RANKS
    assert "without saving" not in stderr
    assert status_files() == ranks_of(process) == []


def test_asked_to_stop_all_ranks_save(launching):
    with launching("--", *LONG) as process:
        wait_until(lambda: len(steps()) >= 2, process)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=jobs.LIMIT)
    assert process.returncode == 75, stderr
    step = checkpoint.newest("a/checkpoints", pytest.fail)[1].step
    assert f"stopped on request after step {step}" in stderr
    assert ranks_of(process) == []


def test_asked_to_stop_before_training_it_ends_at_once(launching):
    with launching("--", *LONG, how=("-c", WITHOUT_TRAINING, FOREVER)) as process:
        wait_until(lambda: ranks_of(process), process)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=jobs.LIMIT)
    assert process.returncode == 75, stderr
    assert "continues from the beginning" in stderr
    assert ranks_of(process) == []


def test_a_killed_launcher_ends_its_job_and_the_next_one_tidies_up(launching, launched):
    with launching("--", *LONG) as process:
        wait_until(lambda: len(steps()) >= 2, process)
        process.kill()
        process.wait()
        jobs.wait_until(lambda: not ranks_of(process))
    assert len(status_files()) == 1
    done = launched("--", *LONG, "--resume", "auto", "--max-steps", 1)
    assert done.returncode == 0, done.stderr
    assert status_files() == []


MISTAKES = {
    "option of training": (["--", "--epoch", 3], "did you mean --epochs"),
    "model": (["--", "--model", "nix"], "unknown model"),
    "restarts": (["--max-restarts", "many"], "--max-restarts"),
    "too many ranks": (["--", "--batch-size", 16], "2 ranks"),
}


@pytest.mark.parametrize(("words", "said"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_not_tried_again_and_leave_nothing(launched, words, said):
    done = launched(*words)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("distcnn: ") == 1
    assert said in done.stderr
    assert list(Path().iterdir()) == []


def test_divergence_is_not_tried_again(launched):
    done = launched("--", "--learning-rate", 1e30, "--out", "a")
    assert done.returncode == 3, done.stderr
    assert "restart" not in done.stderr


@pytest.fixture
def without_training(mpirun, run, tmp_path_factory, monkeypatch):
    """Run the launcher, whose ranks do not train; return it, ended, and the options that each rank was given."""
    path = tmp_path_factory.mktemp("ranks") / "options"
    monkeypatch.setenv("OPTIONS", str(path))

    def command(then, *words):
        done = run("python", "-c", WITHOUT_TRAINING, then, "-n", 1, *words)
        return done, [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    return command


WITHOUT_PROGRESS = {
    "mpirun fails": (FAIL, ["--mpirun=--no-such-option"], "mpirun ended with exit code"),
    "ranks do not start": (FOREVER, ["--start-limit", 0.1], "not all ranks had started after 0.1 s"),
    "ranks fail": (FAIL, [], "mpirun ended with exit code 1"),
}


@pytest.mark.parametrize(("then", "words", "why"), WITHOUT_PROGRESS.values(), ids=WITHOUT_PROGRESS)
def test_without_progress_it_gives_up(without_training, then, words, why):
    done, _ = without_training(then, *words, "--", "--max-steps", 2)
    assert done.returncode == 1, done.stderr
    assert "gave up: 3 times in a row" in done.stderr
    assert why in done.stderr
    assert list(Path().iterdir()) == []


def test_it_gives_up_after_so_many_restarts(without_training):
    done, _ = without_training(FOREVER, "--max-restarts", 1, "--start-limit", 0.1, "--", "--max-steps", 2)
    assert done.returncode == 1
    assert "gave up after 1 restart;" in done.stderr


def test_the_time_is_for_all_jobs_together(without_training):
    _, options = without_training(FAIL, "--", "--max-time", 1000)
    seconds = [float(words[words.index("--max-time") + 1]) for words in options]
    assert len(seconds) == 3
    assert 1000 >= seconds[0] > seconds[1] > seconds[2] > 0


def test_when_the_time_is_over_the_job_saves_and_is_not_started_again(launched):
    done = launched("--", *LONG, "--max-time", 0.1)
    assert done.returncode == 75, done.stderr
    assert "restart" not in done.stderr
    assert steps()


def test_a_run_from_a_checkpoint_elsewhere_can_be_resumed(run, launched):
    run("python", "-m", "distcnn.train", "--max-steps", 3, "--out", "a")
    done = launched("--", "--resume", steps()[0], "--out", "b", "--max-steps", 6)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in steps("b")] == ["step-00000003.h5", "step-00000006.h5"]


@pytest.mark.parametrize(
    ("options", "remaining"),
    [
        ("--epochs 3 --out a", "--epochs 3"),
        ("--out=a --epochs=3", "--epochs=3"),
        ("--progress auto --epochs 3 --resume never", "--progress auto --epochs 3"),
        ("--model out --out out", "--model out"),
        ("", ""),
    ],
)
def test_options_that_the_launcher_sets_replace_those_given(options, remaining):
    ours = {"--out": "out", "--resume": "auto"}
    assert launch._without(options.split(), ours) == remaining.split()


def test_a_hangup_is_ignored_where_it_was(monkeypatch):
    """As under nohup, whose jobs shall outlive the terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with launch.StopSignals().listening() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGUSR1)
            assert (signals.count, signals.urgent) == (1, 0)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_launcher_removes_what_a_dead_one_has_left_and_nothing_else(tmp_path):
    dead = tmp_path / ".launch-a_9zzzzz", tmp_path / ".launch-bbbbbbbb"
    dead[0].write_bytes(b"")
    dead[1].write_bytes(b"started\nbegun\ntraining\nexit 75\n")
    others = {
        ".launch-1": b"",
        ".launch-notes.txt": b"",
        ".launch-cccccccc": b"begun by me\n",
        "launch-a": b"",
    }
    for name, content in others.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / ".launch-dddddddd").symlink_to(".launch-1")
    (tmp_path / ".launch-eeeeeeee").mkdir()
    os.mkfifo(tmp_path / ".launch-ffffffff")
    (tmp_path / ".launch-gggggggg").write_bytes(b"started\n" * 10_000)
    before = set(tmp_path.iterdir())
    with job_status.file_in(tmp_path) as path:
        assert set(tmp_path.iterdir()) == before - set(dead) | {path}
    assert set(tmp_path.iterdir()) == before - set(dead)


def test_a_damaged_job_status_is_ignored(tmp_path, monkeypatch):
    path = tmp_path / "outcome"
    monkeypatch.setenv(job_status.FILE, str(path))
    job_status.write(job_status.STARTED)
    assert not path.exists()  # the launcher has gone
    path.write_bytes(b"\xff\n")
    job_status.write("exit 75")
    assert job_status.exit_code(job_status.read(path)) == 75
    assert job_status.exit_code([]) is None


def test_settings_follow_the_mpi(monkeypatch):
    found = mpirun._launcher(3, {})
    assert found[0][1:3] == ["-n", "3"]
    assert mpirun._launcher(3, {"SLURM_JOB_ID": "1"})[1].keys() <= found[1].keys()
    monkeypatch.setattr(mpirun.shutil, "which", lambda *words, **keywords: None)
    assert mpirun._launcher(1, {}) == ([], {})
    with pytest.raises(launch.DistcnnError, match="no mpirun"):
        mpirun._launcher(2, {})
