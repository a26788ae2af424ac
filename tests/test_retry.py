"""Work is called again after each failure that ranks recover from; an exception of all ranks together ends it."""

import pytest

from distcnn.errors import DataError, Diverged
from distcnn.parallel.collective import mark_collective
from distcnn.parallel.retry import Outcome, retry, retry_on_rank_failure
from distcnn.parallel.serial import SerialComm


@pytest.mark.mpi(ranks=(1, 2))
def test_work_is_repeated_after_a_repair_until_there_is_none(comm):
    course, errors = [], []

    def work():
        course.append("work")
        if len(course) < 4:
            raise mark_collective(Diverged(f"after {len(course)}"))
        return "result"

    def recover(outcome, error):
        assert outcome is Outcome.ENDED
        return (lambda: course.append("repair")) if error else None

    assert retry(comm, work, recover, errors.append) == "result"
    assert course == ["work", "repair", "work", "repair", "work"]
    assert [error and str(error) for error in errors] == ["after 1", "after 3", None]


def test_a_repair_that_fails_is_a_failed_attempt():
    left = [True]

    def repair():
        if left.pop():
            left.append(False)
            raise DataError("in the repair")
        left.append(False)

    def work():
        if left == [True]:
            raise DataError("in the work")
        return left

    def recover(outcome, error):
        return repair if error else None

    assert retry(SerialComm(), work, recover) == [False]


@pytest.mark.mpi(ranks=(1, 2))
def test_without_anything_to_recover_from_an_exception_is_raised(comm):
    with pytest.raises(KeyError):
        retry(comm, lambda: {}["k"], lambda outcome, error: None)


@pytest.mark.mpi(ranks=(1, 2))
def test_arguments_are_passed(comm):
    assert retry_on_rank_failure(comm, max, 3, 5) == 5
