"""Ranks die, hang and fail, bits flip, and the run ends with the bits of a run without failures (Open MPI 5)."""

import json
import random
import re
from pathlib import Path

import pytest

from distcnn.numerics import NUMERICS
from distcnn.parallel.serial import SerialComm
from tests.helpers import jobs
from tests.helpers.digests import GOLDEN, digest
from tests.helpers.recipes import RECIPES, train
from tests.programs import chaos

pytestmark = [
    pytest.mark.mpirun,
    pytest.mark.skipif(not jobs.tolerant(), reason="only Open MPI 5 survives the death of a rank"),
]
RANKS, STEPS = 4, 20
RECORDS = [12, 20]  # an epoch has 12 steps


@pytest.fixture
def survive(tmp_path):
    """Train with faults planted, under an mpirun that lets the remaining ranks go on."""

    def command(faults, *options, ranks=RANKS, steps=STEPS):
        words = "python", chaos.FAULTS, faults, "--out", "run", "--progress", "none", "--max-steps", steps
        return jobs.survivable(ranks, *words, *options, cwd=tmp_path)

    return command


def records(folder):
    return [json.loads(line) for line in Path(folder, "run/metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("ranks", "faults"), chaos.COMBINED.values(), ids=chaos.COMBINED)
def test_killed_ranks_cost_no_bit(tmp_path, ranks, faults):
    result = chaos.train(faults, ranks, STEPS, tmp_path)
    assert result.survived, result.output
    assert result.digest == GOLDEN[NUMERICS], result.output
    assert result.records == RECORDS
    assert result.steps_lost == 0


def test_faults_are_combined_without_leaving_any_out():
    """Each kind of fault at each place of single trials happens in combined trials, too."""
    places = [
        {fault.split(":")[0] for faults in table for fault in faults.split(",")}
        for table in (chaos.RECOVERED.values(), [faults for _, faults in chaos.COMBINED.values()])
    ]
    assert places[0] <= places[1]


@pytest.mark.parametrize("seed", range(2))
def test_ranks_killed_at_random_moments_cost_no_bit(tmp_path, seed):
    disturb, _ = chaos.random_kills(random.Random(seed), 8, seconds=1.5)
    result = chaos.train(None, 8, 60, tmp_path, disturb)
    assert result.survived, result.output
    assert result.digest == train([], SerialComm(), steps=60).digest
    assert result.records == [12, 24, 36, 48, 60]
    assert result.steps_lost == 0


def test_optimizer_state_and_averages_survive(survive):
    """One rank dies within a step, one while the others evaluate the averaged weights."""
    done = survive("soon@allreduce:2:7,death@evaluation:0", *RECIPES["adam"])
    assert digest(done) == train(RECIPES["adam"], SerialComm(), steps=STEPS).digest


def test_deaths_where_norms_over_the_whole_batch_exchange_statistics(survive):
    """One rank dies before such an exchange, one within it; each rank has two threads."""
    recipe = ["--model", "resnet20", "--batch-size", "56", "--norm-group", "global", "--threads"]
    done = survive("death@exchange:1:1,soon@exchange:0:2", *recipe, "2", steps=3)
    assert digest(done) == train([*recipe, "1"], SerialComm(), steps=3).digest
    assert "2 of 4 continue with step 3" in done.stderr


def test_ranks_that_die_or_fail_are_named_and_keep_their_numbers(survive):
    """Once rank 0 has died, what was rank 2 is MPI's rank 1."""
    done = survive("death@step:0:3,exception@step:2:7")
    assert digest(done) == GOLDEN[NUMERICS]
    assert "rank 0 of 4 died in step 4; 3 of 4 continue with step 4 after" in done.stderr
    assert "rank 2 of 4 died in step 8; 2 of 4 continue with step 8 after" in done.stderr
    assert done.stderr.count("RuntimeError: planted") == 1
    assert "distcnn: rank 2 of 4 on" in done.stderr
    assert "failed in step 8" in done.stderr


def test_a_rank_that_fails_before_training_ends_the_job(survive):
    done = survive("exception@data:2", ranks=3)
    assert done.returncode == 1
    assert done.stderr.count("RuntimeError: planted") == 1
    assert "rank 2 of 3 on" in done.stderr
    assert "weights_sha256" not in done.stdout


SPURIOUS = ",".join(f"spurious@step:{step % 3}:{step}" for step in range(3, 15, 2))


def test_errors_of_mpi_without_a_death_cost_nothing(survive):
    """Nor does it matter that there are many, as long as steps are done between them."""
    done = survive(f"spurious@prepare:2,spurious@allreduce:0:4,{SPURIOUS}", ranks=3)
    assert digest(done) == GOLDEN[NUMERICS]
    assert "died" not in done.stderr


@pytest.mark.parametrize("faults", ["spurious_always@prepare:1", "spurious_always@step:1:5"])
def test_errors_of_mpi_without_end_end_the_job(survive, faults):
    done = survive(faults, ranks=2)
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("distcnn: error: MPI failed 4 times in a row, but no rank has died") == 1


def test_a_death_in_an_evaluation_leaves_the_speed_of_its_epoch(survive, tmp_path):
    survive("death@evaluation:2,death@evaluation:0", ranks=3)
    assert all(each["samples_per_second"] > 0 for each in records(tmp_path))


def test_a_death_before_the_report_leaves_one(survive, tmp_path):
    survive("death@report:0", ranks=2)
    report = json.loads((tmp_path / "run/report/report.json").read_text())
    assert report["weights_sha256"] == GOLDEN[NUMERICS]
    assert sum(report["support"]) == report["samples"] == 355


def test_a_death_before_training_is_reported(survive):
    done = survive("death@prepare:1", ranks=2)
    assert "warning: rank 1 of 2 died before training; 1 of 2 continue" in done.stderr
    assert digest(done) == GOLDEN[NUMERICS]


def test_a_poisoned_sample_does_not_kill_one_rank_after_the_other(survive):
    done = survive("poison@step:0:0", ranks=3)
    assert done.returncode == 1
    assert done.stderr.count("RuntimeError: planted\n") == 2
    said = [line for line in done.stderr.splitlines() if line.startswith("distcnn: error: ")]
    assert len(said) == 1
    assert "a rank has died in this step before" in said[0]
    block, numbers = re.search(r"in step \d+, block (\d+), samples ([\d, ]+):", said[0]).groups()
    assert int(block) < 8
    assert "7" in numbers.split(", ")
    assert "weights_sha256" not in done.stdout


def test_a_failure_of_all_ranks_ends_the_job(survive):
    done = survive("failing@step:0:5", ranks=2)
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if line.startswith("distcnn: error: ")]
    assert said == ["distcnn: error: RuntimeError in step 6: planted on all ranks"]
    assert "weights_sha256" not in done.stdout


def test_a_hung_and_a_stopped_rank_are_named_and_left_behind(survive):
    """The stopped one is killed by another rank."""
    done = survive("hang@block:1:5,freeze@step:0:10", "--hang-timeout", 5, ranks=3)
    assert digest(done) == GOLDEN[NUMERICS]
    hung, stopped = (
        next(line for line in done.stderr.splitlines() if f"rank {k} of 3 on" in line) for k in (1, 0)
    )
    assert " hangs: " in hung
    assert "step 6; it is killed" in hung
    assert "in hang" in done.stderr  # its stack
    assert "its own watchdog does not run" in stopped


def test_waiting_is_recorded(survive, tmp_path):
    digest(survive("slow@step:2:0", ranks=3))
    first = records(tmp_path)[0]
    assert first["waited_for"] == 2
    assert len(first["waited_seconds"]) == 3
    assert min(first["waited_seconds"][:2]) > 1.5  # 12 steps of 0.2 s


def test_deaths_and_a_stop_on_request(survive):
    done = survive("death@step:0:3,stop@step:2:6", ranks=3)
    assert done.returncode == 75
    assert "stopped on request after step 8" in done.stderr
    again = survive("slow@step:9:99", "--resume", "auto", ranks=2)
    assert digest(again) == GOLDEN[NUMERICS]


def test_divergence_after_a_death_stops_all(survive):
    done = survive("death@step:0:3,nan_weights@step:1:6", ranks=3)
    assert done.returncode == 3
    assert done.stderr.count("diverged at step 7") == 1
