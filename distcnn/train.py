"""Train a network: `mpirun -n 8 python -m distcnn.train`, or without mpirun; --help lists the options."""

from __future__ import annotations

import sys

from distcnn.config.startup import begin

if __name__ == "__main__":
    begin(sys.argv[1:])  # before the imports below, which need NumPy, Numba and MPI

from distcnn import models
from distcnn.config.parser import parse
from distcnn.errors import Stopped
from distcnn.job.job import Job
from distcnn.job.prepare import find
from distcnn.job.work import run_job
from distcnn.network.summary import summary
from distcnn.parallel.collective import mark_collective, on_root
from distcnn.parallel.comm import Comm
from distcnn.parallel.retry import retry_on_rank_failure
from distcnn.parallel.world import run as run_command
from distcnn.system.terminal_text import say


def main(comm: Comm) -> None:
    """Train as the command line says; a user's mistake is reported before anything is written."""
    request = retry_on_rank_failure(comm, on_root, comm, parse, sys.argv[1:], "python -m distcnn.train")
    if request.list_models:
        return on_root(comm, print_models)
    job = Job(request, say=None)
    if request.summary:
        return print_summary(comm, job)
    ended = run_job(comm, job)
    if ended.stopped:
        message = f"stopped on request after step {ended.trainer.steps}: continue with --resume auto"
        raise mark_collective(Stopped(message))


def print_models() -> None:
    """Print the table of models."""
    print(models.list_models())


def print_summary(comm: Comm, job: Job) -> None:
    """Print a table of the network for the images and classes of the data. Collective."""
    _, dataset, network = find(comm, job)
    if comm.rank == 0:
        say(summary(network.layers, dataset.train.images.shape[1:]), lines=True)


if __name__ == "__main__":
    run_command(main)
