"""Commands run where people run them: any folder, install, user, memory, terminal and name."""

import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from distcnn import evaluate, predict, train
from distcnn.data import __main__ as data_command
from distcnn.errors import ConfigError
from distcnn.parallel.serial import SerialComm
from distcnn.run.curves import Curves
from distcnn.system.hidden_modules import hidden_install
from tests.helpers import datasets, jobs

TRAIN = "-m", "distcnn.train", "--model", "mlp", "--max-steps", 1, "--progress", "none"
NOBODY = 12345  # a user without an entry in the system's list


def one_line(done, *words):
    """Assert that a command was refused in one line that has these words, and return the line."""
    assert done.returncode == 2, jobs.show(done)
    (line,) = done.stderr.splitlines()
    assert line.startswith("distcnn: error: ")
    assert [word for word in words if word not in line] == []
    return line


# ---- what lies in the working folder ----

HIDING = {
    "numpy.py": "x = 1",
    "numba/__init__.py": "",
    "random.py": "x = 1",
    "queue.py": "import numpy",
    "h5py.py": "raise OSError('mine')",
}


@pytest.mark.parametrize("name", HIDING)
def test_a_file_that_hides_a_module_is_named(run, tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(HIDING[name])
    done = run("python", "-m", "distcnn.train", "--max-steps", 1, cwd=tmp_path)
    line = one_line(done, f"{path} hides the module {name.partition('/')[0].partition('.')[0]}: rename it")
    assert "start in another folder" in line
    path.rename(path.with_name("other.py"))
    assert run("python", "-m", "distcnn.train", "--help", cwd=tmp_path).returncode == 0


def test_one_rank_names_the_file(mpirun, tmp_path):
    (tmp_path / "numpy.py").write_text("")
    done = mpirun(2, "python", "-m", "distcnn.train", cwd=tmp_path)
    assert done.stderr.count("hides the module numpy") == 1
    assert "Traceback" not in done.stderr


def test_a_module_that_is_imported_later(run, tmp_path):
    (tmp_path / "matplotlib").mkdir()
    (tmp_path / "matplotlib/__init__.py").write_text("")
    datasets.write(tmp_path / "data.h5")
    done = run("python", "-m", "distcnn.data", "show", "data.h5", "x.png", cwd=tmp_path)
    one_line(done, "matplotlib/__init__.py hides the module matplotlib")
    assert not (tmp_path / "x.png").exists()


def test_files_that_hide_nothing_that_is_needed(run, tmp_path):
    """Also a folder with the package's name that is no package."""
    for name in ("code.py", "this.py", "train.py"):
        (tmp_path / name).write_text("raise OSError")
    (tmp_path / "distcnn").mkdir()
    done = run("python", "-m", "distcnn.launch", "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_another_error_is_shown_as_it_is(run, tmp_path):
    code = (
        "import sys; sys.argv = ['x']; from distcnn.config.versions import answer_version as a; a([]); 1 / 0"
    )
    done = run("python", "-c", code, cwd=tmp_path)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_a_copy_of_the_package_hides_the_one_that_is_installed(run, tmp_path):
    """Python's rule holds, and is told."""
    shutil.copytree(Path(train.__file__).parent, tmp_path / "distcnn", ignore=shutil.ignore_patterns("*.h5"))
    done = run("python", "-m", "distcnn.launch", "--help", cwd=tmp_path)
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert f"imported from the working folder, which hides the one installed in {jobs.ROOT}" in line
    assert run("python", "-m", "distcnn.launch", "--help", cwd=jobs.ROOT).stderr == ""
    assert hidden_install(Path(train.__file__).parent) is None


# ---- users and folders ----


@pytest.fixture(scope="module")
def nobody():
    """Return (folder, run): a folder of a user without a name, and a function that runs Python as this user."""
    place = Path(tempfile.mkdtemp(prefix="distcnn-tests-"))
    for name in ("tmp", "work"):
        (place / name).mkdir()
    become = "unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "env", "-u", "HOME"
    env = {"TMPDIR": place / "tmp", "XDG_CACHE_HOME": "", "NUMBA_CACHE_DIR": ""}
    if not shutil.which("unshare") or jobs.run(*become, "true").returncode:
        pytest.skip("takes unshare and the right to a namespace of users")

    def run(*words, cwd=place / "work", ranks=0):
        launcher = (jobs.launcher(), "-n", ranks) if ranks else ()
        return jobs.run(*become, *launcher, "python", *words, env=env, cwd=cwd)

    yield place, run
    shutil.rmtree(place)


def digest_of(done):
    assert done.returncode == 0, jobs.show(done)
    return done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def wanted(tmp_path_factory):
    """Return the last line of the training."""
    return digest_of(jobs.run("python", *TRAIN, cwd=tmp_path_factory.mktemp("run")))


@pytest.mark.slow
def test_a_user_without_a_name_and_a_home(nobody, wanted):
    place, run = nobody
    done = run(*TRAIN, "--out", "a")
    assert digest_of(done) == wanted
    assert done.stderr == ""
    assert (place / f"tmp/distcnn-{NOBODY}").is_dir()
    assert (place / "work/a/curves.png").exists()
    if jobs.launcher():
        assert digest_of(run(*TRAIN, "--out", "b", ranks=2)) == wanted
    assert digest_of(run("-m", "distcnn.evaluate", "a")).startswith("weights_sha256")


@pytest.mark.slow
def test_a_working_folder_that_cannot_be_written(nobody, wanted):
    place, run = nobody
    (place / "read-only").mkdir(mode=0o555)
    line = one_line(run(*TRAIN, cwd=place / "read-only"), "runs/mlp-digits", "Permission denied")
    assert line.endswith("choose another folder (--out)")
    assert digest_of(run(*TRAIN, "--out", place / "work/c", cwd=place / "read-only")) == wanted


def within(command, size, place="/dev/shm"):
    """Return a command in a namespace of its own, in which `place` has so many bytes, as in a container."""
    mounted = f"mount -t tmpfs -o size={size} tmpfs {place} && exec {shlex.join(map(str, command))}"
    return "unshare", "--mount", "sh", "-c", mounted


@pytest.fixture(scope="module")
def mounts():
    """Skip a test where file systems cannot be mounted."""
    if sys.platform != "linux" or not shutil.which("unshare"):
        pytest.skip("takes unshare")
    if subprocess.run(within(["true"], "1m"), capture_output=True).returncode:
        pytest.skip("takes the right to mount")


@pytest.mark.slow
@pytest.mark.parametrize("size", ["full", "missing"])
def test_no_room_for_temporary_files(run, mounts, wanted, tmp_path, size):
    (tmp_path / "tmp").mkdir()
    place = tmp_path / ("tmp" if size == "full" else "nowhere")
    for command in (TRAIN, ("-m", "distcnn.verify", "a")):
        words = [sys.executable, *command, *(("--out", "a") if command == TRAIN else ())]
        words = within(words, "4k", tmp_path / "tmp") if size == "full" else words
        done = run(*words, cwd=tmp_path, env={"TMPDIR": place})
        assert digest_of(done) == wanted
        assert "Traceback" not in done.stderr


# ---- the shared memory of a container ----


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A dataset of 70 MB, which has no room in the 64 MB that a container has by default."""
    path = tmp_path_factory.mktemp("data") / "large.h5"
    with h5py.File(path, "w") as file:
        file["train/images"] = np.full((90_000, 1, 28, 28), 3, np.uint8)
        file["train/labels"] = np.arange(90_000) % 3
    return path


@pytest.mark.slow
@pytest.mark.mpirun
def test_shared_memory_that_is_too_small(run, mounts, large, tmp_path):
    """Both remedies of the message work."""
    if not jobs.launcher():
        pytest.skip("no mpirun")

    def train(ranks, size, name):
        words = jobs.launcher(), "-n", ranks, sys.executable, *TRAIN, "--data", large, "--out", name
        return run(*within(words, size), cwd=tmp_path)

    done = train(2, "64m", "a")
    words = "/dev/shm has", "MiB free, but the data need 68 MiB", "--shm-size", "run one rank there"
    assert done.returncode == 2, jobs.show(done)
    (line,) = [line for line in done.stderr.splitlines() if "distcnn" in line]
    assert [word for word in words if word not in line] == []
    assert not (tmp_path / "a").exists()
    assert digest_of(train(2, "128m", "b")) == digest_of(train(1, "64m", "c"))


@pytest.mark.slow
@pytest.mark.mpirun
def test_small_data_in_a_small_shared_memory(run, mounts, wanted, tmp_path):
    """MPI's own segments have room, too, with more ranks than usual in a container."""
    if not jobs.launcher():
        pytest.skip("no mpirun")
    words = jobs.launcher(), "-n", 8, sys.executable, *TRAIN, "--out", "a"
    assert digest_of(run(*within(words, "64m"), cwd=tmp_path)) == wanted


# ---- names ----

NAMES = "数据", "بيانات", "🐱\u200d👤", "e\u0301", "a b'\"$`\\;", "-x", "%s{0}"
COMMANDS = (
    "train --model mlp --max-steps 1 --data DATA --out OUT",
    "data info DATA",
    "evaluate OUT",
    "predict OUT",
    "predict OUT --out OUT/p.csv",
    "predict OUT --out OUT/p.h5",
    "train --model mlp --max-steps 2 --resume auto --out OUT",
)
PROGRAM = f"""
import sys
from distcnn import evaluate, predict, train
from distcnn.data import __main__ as data
from distcnn.parallel.serial import SerialComm
for name, out in zip(sys.argv[1::2], sys.argv[2::2]):
    for command in {COMMANDS!r}:
        verb, *words = command.split()
        sys.argv = [verb, *(word.replace("OUT", out).replace("DATA", name) for word in words)]
        globals()[verb].main(SerialComm())
"""


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_names_in_any_script(run, tmp_path, encoding):
    names = [name for name in NAMES if not name.startswith("-")]
    paths = []
    for name in names:
        datasets.write(tmp_path / f"{name}.h5", classes=("-x", name, f"{name}\n"))
        paths += [f"{name}.h5", f"{name} run"]
    done = run("python", "-c", PROGRAM, *paths, cwd=tmp_path, env={"PYTHONIOENCODING": encoding})
    assert done.returncode == 0, jobs.show(done)
    assert "Traceback" not in done.stderr
    for name in names:
        assert (tmp_path / f"{name} run/curves.png").exists()
        with h5py.File(tmp_path / f"{name} run/p.h5") as file:
            assert list(file.attrs["classes"]) == ["-x", name, f"{name}\n"]
        assert name in (tmp_path / f"{name} run/p.csv").read_text("utf-8").replace('""', '"')
    if encoding == "utf-8":
        assert all(name.replace("\u200d", "") in done.stdout.replace("\u200d", "") for name in names)


NO_TEXT = "x\udcff"  # a byte that is not UTF-8, as Python shows it in paths


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Return a function that runs a command in a folder in this process, and returns what it has printed."""
    monkeypatch.setattr(Curves, "draw", lambda self: None)
    monkeypatch.setenv("MPLBACKEND", "agg")

    def call(line, cwd=tmp_path):
        monkeypatch.chdir(cwd)
        verb, *words = shlex.split(line)
        verbs = {"train": train, "evaluate": evaluate, "predict": predict, "data": data_command}
        monkeypatch.setattr(sys, "argv", [verb, *words])
        verbs[verb].main(SerialComm())
        return capsys.readouterr().out

    return call


def test_a_path_that_is_no_text(command, tmp_path):
    """What a run saves must be text; all else may be read and written under any name."""
    (tmp_path / NO_TEXT).mkdir()
    for folder in (tmp_path, tmp_path / NO_TEXT):
        datasets.write(folder / "data.h5")
    (tmp_path / f"{NO_TEXT}.h5").symlink_to("data.h5")
    (tmp_path / "link").symlink_to(NO_TEXT)
    short = "train --model mlp --max-steps 1 --hang-timeout 0"
    for options, folder in (
        (f"--data {NO_TEXT}.h5", "."),
        (f"--out {NO_TEXT}/run", "."),
        ("--data data.h5", NO_TEXT),
    ):
        with pytest.raises(ConfigError) as caught:
            command(f"{short} {options}", tmp_path / folder)
        assert "a path of one line in UTF-8 (rename it, or name a link to it)" in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"data.h5", NO_TEXT, f"{NO_TEXT}.h5", "link"}
    command(f"{short} --data link/data.h5 --out link/run")  # the remedy
    shown = NO_TEXT.encode(errors="backslashreplace").decode()
    assert shown in command(f"evaluate {NO_TEXT}/run --data {NO_TEXT}.h5")
    for ending in ("csv", "h5"):
        assert shown in command(f"predict link/run --data {NO_TEXT}.h5 --out {NO_TEXT}/p.{ending}")
    with h5py.File(tmp_path / NO_TEXT / "p.h5") as file:
        assert file.attrs["data"] == shown
    assert shown in command(f"data info {NO_TEXT}.h5")
    command(f"{short} --data {tmp_path}/data.h5", tmp_path / NO_TEXT)
    assert (tmp_path / NO_TEXT / "runs/mlp-data").is_dir()
