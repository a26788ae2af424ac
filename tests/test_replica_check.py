"""Replicas that differ are found, named and repaired; a NaN is traced to a layer, a step, a rank and samples."""

import json
from pathlib import Path

import pytest

from distcnn.numerics import NUMERICS
from tests.helpers import jobs
from tests.helpers.digests import GOLDEN, digest
from tests.programs import FAULTS

pytestmark = pytest.mark.mpirun


@pytest.fixture
def train(mpirun, tmp_path):
    """Train for 20 steps with faults planted."""

    def command(ranks, faults, *options):
        words = "python", FAULTS, faults, "--out", "run", "--progress", "none", "--max-steps", 20
        return mpirun(ranks, *words, *options, cwd=tmp_path)

    return command


def test_a_flipped_bit_is_found_named_and_repaired(train, tmp_path):
    done = train(3, "flipped_bit@step:1:5", "--replica-check-every", 4)
    assert digest(done) == GOLDEN[NUMERICS]
    assert "step 8: rank 1 on" in done.stderr
    assert "other bits than on the other ranks; all roll back to step 4" in done.stderr
    lines = Path(tmp_path, "run/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [12, 20]


def test_two_that_differ_are_both_named(train):
    done = train(2, "flipped_bit@step:1:5", "--replica-check-every", 3)
    assert digest(done) == GOLDEN[NUMERICS]
    assert "step 6: rank 0 on" in done.stderr
    assert ", rank 1 on" in done.stderr


def test_a_bit_is_found_before_anything_is_written(train):
    """Without regular comparisons, the end of the epoch at step 12 is the first."""
    done = train(3, "flipped_bit@step:0:5", "--replica-check-every", 0)
    assert digest(done) == GOLDEN[NUMERICS]
    assert "step 12: rank 0 on" in done.stderr
    assert "all roll back to step 0" in done.stderr


def test_a_nan_in_one_replica_is_a_fault_of_that_replica(train):
    done = train(3, "nan_weight@step:1:5", "--replica-check-every", 4)
    assert digest(done) == GOLDEN[NUMERICS]
    assert "step 5: rank 1 on" in done.stderr


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize(
    ("fault", "layer"),
    [
        ("nan_weights", "layer 3 (Conv2D) gives NaN or infinity, samples "),
        ("huge_weights", "layer 11 (Dense) gives values beyond 2**27, samples "),
    ],
)
def test_divergence_names_layer_rank_and_samples(train, ranks, fault, layer):
    done = train(ranks, fault)
    assert done.returncode == 3
    assert f"diverged at step 6, whose update was not applied: {layer}" in done.stderr
    assert f"on rank 0 of {ranks}" in done.stderr


@pytest.mark.skipif(jobs.tolerant(), reason="that MPI can let the others go on")
@pytest.mark.parametrize(
    ("fault", "words"), [("hang@block:1:5", " hangs: "), ("freeze@step:1:5", "its own watchdog does not run")]
)
def test_where_no_rank_survives_alone_a_hung_one_ends_the_job(train, fault, words):
    done = train(3, fault, "--hang-timeout", 5)
    assert done.returncode != 0
    assert "rank 1 of 3 on" in done.stderr
    assert words in done.stderr
    assert "weights_sha256" not in done.stdout
