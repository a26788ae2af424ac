"""Whole jobs die under the launcher, in short; `python -m tests.programs.restarts` lets blows fall at random."""

import random

import pytest

from tests.helpers.digests import digest
from tests.programs import restarts

RANKS, STEPS = 3, 300
COURSES = {  # blows, each so many seconds after the one before
    "all ranks, then the launcher": ([restarts.all_ranks, restarts.the_launcher], [3, 3]),
    "mpirun, then a request": ([restarts.mpirun, restarts.a_request], [3, 3]),
    "one rank, then the whole job": ([restarts.one_rank, restarts.the_whole_job], [2, 3]),
}


@pytest.fixture(scope="module")
def wanted(tmp_path_factory):
    """Digest and records of a run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("alone")
    done = restarts.jobs.run("python", "-m", "distcnn.train", *restarts.options(STEPS), cwd=folder)
    return [digest(done)], restarts.records(folder)


@pytest.mark.parametrize(("blows", "moments"), COURSES.values(), ids=COURSES)
def test_blows_to_a_job_cost_no_bit(mpirun, tmp_path, wanted, blows, moments):
    code, job = restarts.trial(tmp_path, RANKS, STEPS, moments, blows, random.Random(0))
    assert code == 0, job.said()
    assert restarts.summary(code, job) == wanted
    assert not job.remains
    restarts.course(tmp_path)  # every step is in the weights once
    assert list(tmp_path.glob("run/.launch-*")) == []
