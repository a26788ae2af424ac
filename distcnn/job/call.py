"""What all functions that a user's program calls do around their work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from distcnn.errors import ConfigError, DistcnnError, UserError
from distcnn.job.job import Job
from distcnn.job.ranks import ranks
from distcnn.job.request import request_of
from distcnn.job.sources import data_settings
from distcnn.job.wording import Wording, as_keyword, worded
from distcnn.job.work import Ended, run_job
from distcnn.parallel.collective import CollectiveError, mark_collective, marked
from distcnn.parallel.comm import Comm
from distcnn.parallel.retry import retry_on_rank_failure

T = TypeVar("T")

JobOf = Callable[..., Job]  # makes a Job from its Request


def call(function: Callable[..., T], *arguments: Any, say: Wording = as_keyword) -> T:
    """Return function(comm, *arguments), where `comm` is the communicator of all ranks.

    An exception of the user's own, as in a callback, is raised as the user has raised it. What distcnn's exceptions say
    of settings is as `say` writes them.
    """
    failure: BaseException
    try:
        return function(ranks(), *arguments)
    except CollectiveError as error:
        failure = marked(error.cause, error)
    except DistcnnError as error:
        error.args = (worded(str(error), say),)
        is_mistake = isinstance(error, UserError)  # then what counts is which call of the user's it is
        failure = error.with_traceback(None) if is_mistake else error
    raise failure from None


def train(comm: Comm, sources: Mapping[str, Any], given: Mapping[str, Any], job_of: JobOf) -> Ended:
    """Train as a user's program asks, on all ranks together.

    sources: the data of each split: paths, arrays or None.
    given: the settings by name.
    job_of: makes the Job.
    """
    require_alike(comm, given)
    with data_settings(comm, sources, given) as (named, arrays):
        return run_job(comm, job_of(request_of({**given, **named}), arrays=arrays))


def require_alike(comm: Comm, given: Mapping[str, Any]) -> None:
    """Raise ConfigError on every rank if ranks were given other things, by name, than rank 0. Collective.

    Each function that a program calls does this first. So it also finds out which ranks have died since the last one.
    """
    shown = {name: repr(value) for name, value in given.items()}
    found = retry_on_rank_failure(comm, lambda: comm.allgather(shown))
    for rank, other in enumerate(found):
        name = next((each for each in {**found[0], **other} if found[0].get(each) != other.get(each)), None)
        if name:
            what = f"{name} is {other.get(name)} on rank {rank}, but {found[0].get(name)} on rank 0"
            raise mark_collective(ConfigError(f"{what}: give the same on every rank"))
