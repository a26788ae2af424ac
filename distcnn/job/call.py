"""What all functions that a user's program calls do around their work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from distcnn.job.job import Job
from distcnn.job.ranks import ranks
from distcnn.job.request import request_of
from distcnn.job.sources import data_settings
from distcnn.job.work import Ended, run_job
from distcnn.parallel.collective import CollectiveError
from distcnn.parallel.comm import Comm


@contextmanager
def called() -> Iterator[Comm]:
    """Yield the communicator of all ranks; an exception of the user's leaves the block as the user has raised it."""
    try:
        yield ranks()
    except CollectiveError as error:
        cause: Any = error.cause
        cause.collective_rank, cause.is_remote = error.collective_rank, error.is_remote
        raise cause from None


def train(sources: Mapping[str, Any], given: Mapping[str, Any], job: Callable[..., Job]) -> Ended:
    """Train as a user's program asks, on all ranks together.

    sources: the data of each split: paths, arrays or None.
    given: the settings by name.
    job: makes the Job from its Request.
    """
    with called() as comm, data_settings(comm, sources, given) as named:
        return run_job(comm, job(request_of({**given, **named})))
