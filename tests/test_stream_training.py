"""Training on a file that is streamed: the same bits on any number of ranks, and nothing lost when the file fails."""

import json
import shutil

import pytest

from distcnn.data.dataset import load
from distcnn.data.stream import limits
from distcnn.errors import DataError
from distcnn.parallel.serial import SerialComm
from tests.helpers.digests import digest
from tests.helpers.streams import STORAGE, small_units, train, trainer, write
from tests.programs import FAULTS

STEPS = 29  # an epoch has 12
OPTIONS = "--batch-size", 128, "--window", 1, "--learning-rate", 0.01
GOLDEN = {  # pinned, as the bits of runs must never change
    "": "5b94e63b918be140e8db5167fa345dc83e323c47da02e495542e6c2f62221f5e",
    "--validation-split 0.2 --augment shift=1": "836ecc25f9d6a51ac9620f0c2e1c6ab8c72b03bf380b2768bb5b734fd4e1b19f",
}


@pytest.mark.mpi(ranks=(1, 2, 3, 8), timeout=120)
@pytest.mark.parametrize("options", GOLDEN)
def test_any_number_of_ranks(comm, shared_path, monkeypatch, options):
    small_units(monkeypatch)
    if comm.rank == 0:
        write(shared_path / "a.h5", "gzip")
    comm.Barrier()
    words = "--data", shared_path / "a.h5", *OPTIONS, *options.split()
    made = train(trainer(comm, *words), STEPS)
    assert made.digest == GOLDEN[options]
    begun = train(trainer(comm, *words), 9)
    resumed = trainer(SerialComm(), *words)
    resumed.restore(begun.state(), "here")
    assert train(resumed, STEPS).digest == GOLDEN[options]


@pytest.mark.parametrize("storage", STORAGE)
def test_any_storage_with_the_same_units(tmp_path, monkeypatch, storage):
    small_units(monkeypatch)
    path = write(tmp_path / "a.h5", storage)
    assert train(trainer(SerialComm(), "--data", path, *OPTIONS), STEPS).digest == GOLDEN[""]


@pytest.mark.parametrize("threads", [1, 3])
def test_evaluation_is_that_of_memory_mode(tmp_path, monkeypatch, threads):
    small_units(monkeypatch)
    path = write(tmp_path / "a.h5", "gzip")
    made = trainer(SerialComm(), "--data", path, *OPTIONS, "--threads", threads)
    found = made.evaluations()
    made.dataset = load(path, SerialComm())
    assert found == made.evaluations()


def test_a_training_that_needs_too_much_memory_is_refused(tmp_path, monkeypatch):
    small_units(monkeypatch)
    monkeypatch.setattr(limits, "LIMIT", 1000)
    with pytest.raises(DataError, match="streaming needs 2 windows of 16 units"):
        trainer(SerialComm(), "--data", write(tmp_path / "a.h5"), *OPTIONS)


COMMAND = "python", "-m", "distcnn.train"
STREAM = (
    "--progress",
    "none",
    "--model",
    "convolutional",
    "--data-mode",
    "stream",
    "--epochs",
    2,
    "--batch-size",
    64,
)
HERE = "--out", "run"


@pytest.mark.slow
def test_all_commands(run, mpirun, tmp_path):
    """Units are as large as those of users here, so that the file has two."""
    write(tmp_path / "a.h5", "gzip", train=4000, test=200)
    words = *COMMAND, *STREAM, "--data", "a.h5", "--validation-split", 0.25
    wanted = digest(run(*words, "--out", "whole", cwd=tmp_path))
    digest(mpirun(2, *words, *HERE, "--max-steps", 60, cwd=tmp_path))
    assert digest(run(*COMMAND, *HERE, "--data-mode", "auto", "--resume", "auto", cwd=tmp_path)) == wanted
    verified = mpirun(2, "python", "-m", "distcnn.verify", "run", cwd=tmp_path)
    assert digest(verified) == wanted
    record = json.loads((tmp_path / "run/metrics.jsonl").read_text().splitlines()[-1])
    for split in ("validation", "test"):
        done = run("python", "-m", "distcnn.evaluate", "run", "--split", split, "--json", cwd=tmp_path)
        assert json.loads(done.stdout)["accuracy"] == record[f"{split}_accuracy"]
        words = "python", "-m", "distcnn.predict", "run", "--split", split, "--json"
        assert json.loads(mpirun(2, *words, cwd=tmp_path).stdout)["accuracy"] == record[f"{split}_accuracy"]
    other = run(*COMMAND, *HERE, "--resume", "auto", "--data-mode", "memory", cwd=tmp_path)
    assert other.returncode == 2
    assert "--data-mode memory: the run has stream" in other.stderr


def test_window_without_streaming(run, tmp_path):
    done = run("python", "-m", "distcnn.train", "--window", 1000, cwd=tmp_path)
    assert done.returncode == 2
    said = "--window does nothing with --data-mode memory, as the data show: leave it out, or use"
    assert f"{said} --data-mode stream\n" in done.stderr


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_file_that_is_cut_while_it_is_in_use(mpirun, tmp_path, ranks):
    """One line, no step lost, and the same bits once the file is whole again."""
    write(tmp_path / "a.h5")
    shutil.copy(tmp_path / "a.h5", tmp_path / "copy.h5")
    faults = "python", FAULTS, "small_units@prepare,truncate@step:0:13"
    words = *STREAM, *OPTIONS[2:], "--data", "a.h5"
    done = mpirun(ranks, *faults, *words, *HERE, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("distcnn")]
    assert len(said) == 1
    assert "Traceback" not in done.stderr
    assert "a.h5: was changed or truncated while it was in use: restore it" in said[0]
    saved = [path.name for path in (tmp_path / "run/checkpoints").iterdir()]
    assert len(saved) == 1
    assert int(saved[0].removeprefix("step-").removesuffix(".h5")) >= 13
    shutil.copy(tmp_path / "copy.h5", tmp_path / "a.h5")
    again = mpirun(
        1, "python", FAULTS, "small_units@prepare", *words, *HERE, "--resume", "auto", cwd=tmp_path
    )
    whole = mpirun(1, "python", FAULTS, "small_units@prepare", *words, "--out", "whole", cwd=tmp_path)
    assert digest(again) == digest(whole)


def test_a_file_that_is_cut_before_the_evaluation(run, tmp_path):
    """The epoch that was trained is saved."""
    write(tmp_path / "a.h5")
    faults = "python", FAULTS, "small_units@prepare,truncate@evaluation:0"
    done = run(*faults, *STREAM, *HERE, "--data", "a.h5", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "a.h5: was changed or truncated while it was in use" in done.stderr
    assert [path.name for path in (tmp_path / "run/checkpoints").iterdir()] == ["step-00000024.h5"]
