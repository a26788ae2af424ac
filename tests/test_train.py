"""The training command as a person types it: what it shows and writes, mistakes, faults, and being asked to stop."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from subprocess import PIPE

import h5py
import numpy as np
import pytest

from distcnn.run.checkpoint import load
from distcnn.system import signals
from tests.helpers import jobs
from tests.helpers.digests import digest, uninterrupted
from tests.helpers.trainings import train_to, trainer_of
from tests.programs import DISK_FAULTS, FAULTS


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def train(run, mpirun):
    """Run the training command on some ranks, on 0 without mpirun."""

    def command(ranks, *options, **keywords):
        words = "python", "-m", "distcnn.train", *options
        return mpirun(ranks, *words, **keywords) if ranks else run(*words, **keywords)

    return command


@pytest.fixture
def called(comm, call):
    """Call the training command on the ranks of the test; `write`, if given, is called before, on the first rank."""

    def command(*options, write=None):
        comm.Barrier()  # no rank still looks at what is there
        if write and comm.rank == 0:
            write()
        return call("distcnn.train", *options)

    return command


def everything():
    return sorted(str(path) for path in Path().rglob("*"))


def write_data(name="data.h5", n=40, change=None):
    """Write a small dataset, perhaps with a mistake in it."""
    with h5py.File(name, "w") as file:
        file["train/images"] = np.zeros((n, 1, 28, 28), np.uint8)
        file["train/labels"] = np.arange(n) % 3
        if change:
            change(file)
    return name


def replaced(name, array):
    def change(file):
        del file[name]
        file[name] = array

    return change


def test_a_run_shows_and_writes_its_course(train):
    done = train(2, "--epochs", 2, env=jobs.PICTURES)
    lines = done.stdout.splitlines()
    assert "61,706 parameters" in lines[0]
    assert "runs/lenet5-digits" in lines[0]
    assert [line.split()[:2] for line in lines[1:3]] == [["epoch", "1/2"], ["epoch", "2/2"]]
    assert done.stderr == ""
    folder = Path("runs/lenet5-digits")
    assert {path.name for path in folder.iterdir()} == {
        "checkpoints",
        "config.toml",
        "curves.png",
        "metrics.jsonl",
        "network.txt",
        "report",
    }
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [1, 2]
    wanted = {"epoch", "step", "train_loss", "test_loss", "test_accuracy", "samples_per_second", "ranks"}
    assert wanted | {"weights_sha256"} <= records[0].keys()
    assert records[-1]["weights_sha256"] == digest(done)
    assert load(sorted((folder / "checkpoints").iterdir())[-1]).digest == digest(done)
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.mpi(ranks=(1, 3))
def test_evaluation_of_a_run_gives_what_training_measured(called, call):
    called("--epochs", 1, "--out", "a")
    record = json.loads(Path("a/metrics.jsonl").read_text())
    alone = train_to(trainer_of(["--epochs", "1"]), 12)  # an epoch
    assert record["weights_sha256"] == alone.digest
    measured = alone.evaluations()["test"]
    result = json.loads(call("distcnn.evaluate", "a", "--json").stdout)
    assert result["loss"] == record["test_loss"] == measured["loss"]
    assert result["accuracy"] == record["test_accuracy"] == measured["accuracy"]
    assert result["weights_sha256"] == record["weights_sha256"]
    assert "1,442 train images" in call("distcnn.evaluate", "a", "--split", "train").stdout


@pytest.mark.mpi(ranks=(2,))
def test_without_test_data_training_goes_without_evaluation(called, call):
    digest(called("--data", "data.h5", "--epochs", 1, "--batch-size", 32, "--out", "a", write=write_data))
    assert json.loads(Path("a/metrics.jsonl").read_text())["test_accuracy"] is None
    done = call("distcnn.evaluate", "a", "--data", "data.h5")
    assert done.returncode == 2
    assert "has no /test; choose another split (--split)" in done.stderr


@pytest.mark.mpi(ranks=(1, 2))
def test_a_finished_run_prints_its_digest_and_ends(called):
    first = called("--epochs", 1, "--out", "a")
    before = {path: Path(path).stat().st_mtime_ns for path in everything()}
    second = called("--resume", "auto", "--out", "a", "--epochs", 1)
    assert second.stdout.splitlines() == first.stdout.splitlines()[-1:]
    assert before == {path: Path(path).stat().st_mtime_ns for path in everything()}
    fewer = called("--resume", "auto", "--out", "a", "--epochs", 5, "--max-steps", 3)
    assert fewer.stdout.splitlines() == second.stdout.splitlines()
    longer = called("--resume", "auto", "--out", "a", "--epochs", 2)
    assert digest(longer) != digest(first)


MISTAKES = {
    "unknown option": (["--epoch", "3"], ["--epoch", "--epochs"]),
    "unknown model": (["--model", "lenet"], ["lenet", "lenet5"]),
    "no batch": (["--batch-size", "0"], ["--batch-size", "0", "from 1"]),
    "no number": (["--seed", "one"], ["--seed", "one"]),
    "missing data": (["--data", "none.h5"], ["none.h5", "does not exist"]),
    "missing config": (["--config", "none.toml"], ["none.toml"]),
    "missing checkpoint": (["--resume", "none.h5"], ["none.h5"]),
    "unwritable": (["--out", "/proc/run"], ["/proc/run", "--out"]),
}


@pytest.mark.parametrize(("options", "words"), MISTAKES.values(), ids=MISTAKES)
@pytest.mark.mpi(ranks=(1, 3))
def test_mistakes_are_reported_in_one_line_and_nothing_is_written(called, options, words):
    check_refused(called(*options), words)


@pytest.mark.parametrize("ranks", [0, 3])
def test_a_process_that_reports_a_mistake_ends_likewise(train, ranks):
    check_refused(train(ranks, *MISTAKES["no batch"][0]), MISTAKES["no batch"][1])


def check_refused(done, words, before=()):
    """The exit code is 2, one line of standard error is distcnn's, and it has these words."""
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if "distcnn" in line]
    assert len(said) == 1, done.stderr
    assert said[0].startswith("distcnn: error: ")
    assert all(word in said[0] for word in words), said[0]
    assert "Traceback" not in done.stderr + done.stdout
    assert everything() == sorted(before)


BAD_DATA = {
    "channels last, which are not known to be channels": (
        replaced("train/images", np.zeros((40, 28, 28, 13), np.uint8)),
        ["(40, 28, 28, 13)", "--layout NHWC"],
    ),
    "complex": (
        replaced("train/images", np.zeros((40, 1, 28, 28), np.complex64)),
        ["complex64", "whole numbers or floats"],
    ),
    "nan": (replaced("train/images", np.full((40, 1, 28, 28), np.nan, np.float32)), ["nan", "finite"]),
    "counts": (replaced("train/labels", np.zeros(39, int)), ["40 images", "39 labels"]),
    "negative": (replaced("train/labels", np.arange(40) - 1), ["-1", "from 0"]),
    "small": (
        replaced("train/images", np.zeros((40, 1, 9, 9), np.uint8)),
        ["layer 3", "Conv2D", "at least 5"],
    ),
}


@pytest.mark.parametrize(("change", "words"), BAD_DATA.values(), ids=BAD_DATA)
@pytest.mark.mpi(ranks=(2,))
def test_bad_data_is_refused(called, change, words):
    done = called("--data", "data.h5", write=lambda: write_data(change=change))
    check_refused(done, words, before=["data.h5"])


@pytest.mark.parametrize("content", [b"", b"no HDF5", None])
@pytest.mark.mpi(ranks=(2,))
def test_a_damaged_file_is_refused(called, content):
    def write():
        path = Path(write_data())
        path.write_bytes(path.read_bytes()[:5000] if content is None else content)

    check_refused(called("--data", "data.h5", write=write), ["data.h5"], before=["data.h5"])


@pytest.mark.mpi(ranks=(3,))
def test_more_ranks_than_blocks_are_refused(called):
    check_refused(called("--batch-size", 32), ["3 ranks", "2 blocks", "raise the batch size to 48"])


@pytest.mark.mpi(ranks=(1, 2))
def test_a_folder_with_a_run_is_refused(called):
    called("--max-steps", 2, "--out", "a")
    before = everything()
    check_refused(called("--out", "a"), ["a: holds a run", "--resume auto"], before)
    check_refused(called("--out", "a", "--resume", "auto", "--seed", 5), ["--seed", "5"], before)
    other = called("--out", "a", "--resume", "auto", "--data", "data.h5", write=write_data)
    check_refused(other, ["other data", "--data"], [*before, "data.h5"])


@pytest.mark.mpi(ranks=(2,))
def test_a_damaged_checkpoint_is_refused_or_passed_over(called):
    digest(called("--max-steps", 20, "--checkpoint-every", 5, "--out", "a"))
    newest, before = sorted(Path("a/checkpoints").iterdir())[-1], everything()

    def damage():
        content = bytearray(newest.read_bytes())
        content[len(content) // 2] ^= 1
        newest.write_bytes(content)

    check_refused(called("--resume", newest, write=damage), [newest.name, "damaged"], before)
    again = called("--max-steps", 20, "--resume", "auto", "--out", "a")
    assert "skipping" in again.stderr
    assert digest(again) == uninterrupted(20)


DIVERGE = {
    "nan_weights": "layer 3 (Conv2D) gives NaN or infinity, samples ",
    "huge_weights": "layer 11 (Dense) gives values beyond 2**27, samples ",
}


@pytest.mark.parametrize(("fault", "layer"), DIVERGE.items(), ids=DIVERGE)
@pytest.mark.mpi(ranks=(1, 3))
def test_divergence_stops_all_ranks_at_the_same_step(faulty, comm, fault, layer):
    """The one line names layer, rank and samples."""
    done = faulty(fault, "--checkpoint-every", 5, "--out", "a")
    assert done.returncode == 3
    said = [line for line in done.stderr.splitlines() if "distcnn" in line]
    assert len(said) == 1, done.stderr
    assert f"diverged at step 6, whose update was not applied: {layer}" in said[0]
    assert f"on rank 0 of {comm.size}" in said[0]
    saved = sorted(Path("a/checkpoints").iterdir())[-1]
    assert load(saved).step == 5
    assert "weights_sha256" not in done.stdout


def test_an_exception_on_one_rank_ends_the_job_and_names_the_rank(mpirun):
    done = mpirun(3, "python", FAULTS, "exception", "--out", "a")
    assert done.returncode not in (0, 2, 3, 75)
    assert "RuntimeError: planted" in done.stderr
    assert "rank 1 of 3" in done.stderr


def test_a_killed_rank_ends_the_job(mpirun):
    done = mpirun(3, "python", FAULTS, "death", "--out", "a")
    assert done.returncode != 0


@pytest.mark.parametrize("ranks", [1, 3])
def test_asked_to_stop_on_one_rank_all_save_and_go_on_later(train, mpirun, ranks):
    done = mpirun(ranks, "python", FAULTS, "stop", "--max-steps", 20, "--out", "a")
    assert_stopped(done)
    again = train(2, "--max-steps", 20, "--resume", "auto", "--out", "a")
    assert digest(again) == uninterrupted(20)


@pytest.mark.parametrize("signal", ["stop_again", "terminate", "interrupt"])
@pytest.mark.mpi(ranks=(3,))
def test_any_signal_to_one_rank_lets_all_save(faulty, signal):
    assert_stopped(faulty(f"{signal}@step:2:5", "--out", "a"))


def assert_stopped(done):
    """The job has saved after its step 7, and says so."""
    assert done.returncode == 75, done.stderr
    assert load(sorted(Path("a/checkpoints").iterdir())[-1]).step == 7
    assert "stopped on request after step 7" in done.stderr


@pytest.mark.mpi(ranks=(1, 3))
def test_before_the_time_is_up_all_save(comm, called, monkeypatch):
    monkeypatch.setattr(signals, "_age", lambda: 0.0)  # as if this process had just been started
    done = called("--epochs", 10**6, "--max-time", 1, "--out", "a")
    assert done.returncode == 75, done.stderr
    step = load(sorted(Path("a/checkpoints").iterdir())[-1]).step
    assert f"stopped on request after step {step}" in done.stderr


def test_ctrl_c_saves_and_ends():
    """The fault makes every step slow, so that the signal comes in the middle of training."""
    command, output = (
        [sys.executable, FAULTS, "slow", "--out", "a"],
        {"stdout": PIPE, "stderr": PIPE, "text": True},
    )
    with subprocess.Popen(command, env=jobs.clean_environment({}), **output) as process:
        wait_for(Path("a/metrics.jsonl"), process)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=jobs.LIMIT)
    assert process.returncode == 75, stderr
    assert stdout.splitlines()[-1].startswith("weights_sha256")
    assert "Traceback" not in stderr
    assert list(Path("a/checkpoints").iterdir())


def wait_for(path, process, seconds=30):
    """Wait until a file is there, as long as the process is."""
    for _ in range(10 * seconds):
        if path.exists():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.kill()
    pytest.fail(f"no {path} within {seconds} s")


@pytest.mark.mpi(ranks=(3,))
def test_float32_reduction_trains_too(called):
    digest(called("--reduction", "float32", "--epochs", 3, "--out", "a"))
    losses = [json.loads(line)["train_loss"] for line in Path("a/metrics.jsonl").read_text().splitlines()]
    assert losses[2] < 0.6 * losses[0]


def test_the_newest_checkpoints_are_kept(run):
    options = ["--max-steps", 30, "--checkpoint-every", 4, "--out", "a"]
    digest(run("python", DISK_FAULTS, "none", *options))
    assert sorted(int(path.stem[5:]) for path in Path("a/checkpoints").iterdir()) == [24, 28, 30]
