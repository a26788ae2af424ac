"""Replicas that differ are found, named and repaired; where no rank survives alone, one that hangs ends the job."""

import json
from pathlib import Path

import pytest

from distcnn.numerics import NUMERICS
from tests.helpers import jobs
from tests.helpers.digests import GOLDEN, digest
from tests.programs import FAULTS

OPTIONS = "--out", "run", "--progress", "none", "--max-steps", 20


@pytest.fixture
def train(faulty):
    """Train for 20 steps with faults planted; the weights are those without faults. Return what was said."""

    def command(faults, *options):
        done = faulty(faults, *OPTIONS, *options)
        assert digest(done) == GOLDEN[NUMERICS]
        return done.stderr

    return command


@pytest.mark.mpi(ranks=(3,))
def test_a_flipped_bit_is_found_named_and_repaired(train):
    said = train("flipped_bit@step:1:5", "--replica-check-every", 4)
    assert "step 8: rank 1 on" in said
    assert "other bits than on the other ranks; all roll back to step 4" in said
    lines = Path("run/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [12, 20]


@pytest.mark.mpi(ranks=(2,))
def test_two_that_differ_are_both_named(train):
    said = train("flipped_bit@step:1:5", "--replica-check-every", 3)
    assert "step 6: rank 0 on" in said
    assert ", rank 1 on" in said


@pytest.mark.mpi(ranks=(3,))
def test_a_bit_is_found_before_anything_is_written(train):
    """Without regular comparisons, the end of the epoch at step 12 is the first."""
    said = train("flipped_bit@step:0:5", "--replica-check-every", 0)
    assert "step 12: rank 0 on" in said
    assert "all roll back to step 0" in said


@pytest.mark.mpi(ranks=(3,))
def test_a_nan_in_one_replica_is_a_fault_of_that_replica(train):
    assert "step 5: rank 1 on" in train("nan_weight@step:1:5", "--replica-check-every", 4)


@pytest.mark.skipif(jobs.tolerant(), reason="that MPI can let the others go on")
@pytest.mark.parametrize(
    ("fault", "words"), [("hang@block:1:5", " hangs: "), ("freeze@step:1:5", "its own watchdog does not run")]
)
def test_where_no_rank_survives_alone_a_hung_one_ends_the_job(mpirun, tmp_path, fault, words):
    done = mpirun(3, "python", FAULTS, fault, *OPTIONS, "--hang-timeout", 5, cwd=tmp_path)
    assert done.returncode != 0
    assert "rank 1 of 3 on" in done.stderr
    assert words in done.stderr
    assert "weights_sha256" not in done.stdout
