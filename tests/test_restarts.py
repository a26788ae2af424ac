"""Jobs are killed under the launcher while they train; `python -m tests.programs.restarts` does so at random times."""

import random

import pytest

from tests.helpers.digests import digest
from tests.programs import restarts

RANKS, STEPS = 3, 300
COURSES = {
    "all ranks, then the launcher": [restarts.all_ranks, restarts.the_launcher],
    "mpirun, then a request": [restarts.mpirun, restarts.a_request],
    "one rank, then the whole job": [restarts.one_rank, restarts.the_whole_job],
}


@pytest.fixture(scope="module")
def wanted(tmp_path_factory):
    """Return digest and records of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    done = restarts.jobs.run("python", "-m", "distcnn.train", *restarts.options(STEPS), cwd=folder)
    return [digest(done)], restarts.records(folder)


@pytest.mark.parametrize("events", COURSES.values(), ids=COURSES)
def test_a_killed_job_ends_with_the_same_bits(mpirun, tmp_path, wanted, events):
    delays = [restarts.TRAINING] * len(events)
    code, job = restarts.trial(tmp_path, RANKS, STEPS, delays, events, random.Random(0))
    assert code == 0, job.said()
    assert restarts.summary(code, job) == wanted
    assert not job.remains
    restarts.course(tmp_path)  # every step is in the weights once
    assert list(tmp_path.glob("run/.launch-*")) == []
