"""Ranks die while files are streamed: the others read what they need, and the final bits are the same (Open MPI 5)."""

import pytest

from distcnn.parallel.serial import SerialComm
from tests.helpers import jobs
from tests.helpers.digests import digest
from tests.helpers.streams import small_units, train, trainer, write
from tests.programs import FAULTS

pytestmark = [
    pytest.mark.mpirun,
    pytest.mark.skipif(not jobs.tolerant(), reason="only Open MPI 5 survives the death of a rank"),
]
STEPS = 45  # an epoch has 24, and windows turn after each 4
OPTIONS = "--batch-size", 64, "--window", 1, "--learning-rate", 0.01
DEATHS = {
    "at a turn": "death@step:1:8",
    "rank 0 at a turn": "death@step:0:16",
    "after a turn": "soon@allreduce:2:9",
    "between epochs": "death@step:3:24",
    "one after the other": "death@step:1:7,death@step:2:8,death@step:3:31",
    "two at once": "death@step:0:17,death@step:2:17",
    "while it reads": "death@read:2",
    "in the evaluation": "death@evaluation:1",
}


@pytest.mark.parametrize("deaths", DEATHS.values(), ids=DEATHS)
def test_a_death_costs_no_bit(tmp_path, monkeypatch, deaths):
    path = write(tmp_path / "a.h5", "gzip")
    faults = f"small_units@prepare,{deaths}"
    words = "python", FAULTS, faults, "--out", "run", "--progress", "none", "--max-steps", STEPS
    options = "--data", path, "--data-mode", "stream", "--model", "convolutional", *OPTIONS
    done = jobs.survivable(4, *words, *options, cwd=tmp_path)
    small_units(monkeypatch)
    assert digest(done) == train(trainer(SerialComm(), "--data", path, *OPTIONS), STEPS).digest
    assert "died" in done.stderr
