"""Check what a job is asked to do, find its run, data and network, and make its folder."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from distcnn import models
from distcnn.config.checks import check_consistency
from distcnn.data.dataset import Dataset
from distcnn.data.settings import with_arrays, with_findings
from distcnn.job.job import Job
from distcnn.models.base import Network
from distcnn.models.networks import code_sources
from distcnn.parallel.collective import on_all, on_root
from distcnn.parallel.comm import Comm
from distcnn.parallel.retry import retry_on_rank_failure
from distcnn.parallel.ulfm import UlfmComm
from distcnn.run import run_folder
from distcnn.run.run_folder import Guard, Run, leave_unguarded
from distcnn.run.run_lock import RunLock, job_token
from distcnn.system.processes import this_process
from distcnn.system.terminal_text import warn
from distcnn.training import initial_weights
from distcnn.training.saved_network import network_in, require_same_network
from distcnn.training.setup import find_network, given_network, load_data
from distcnn.training.trainer import Trainer


def make_lock(comm: Comm) -> RunLock:
    """Return this job's lock on its run's folder, for rank 0 to hold. Collective.

    With ULFM another rank may become rank 0 and write, so that all ranks are the holder.
    """
    tokens, processes = zip(*comm.allgather((job_token(), this_process())), strict=True)
    return RunLock(tokens[0], processes if isinstance(comm, UlfmComm) else processes[:1])


def prepare(comm: Comm, job: Job, lock: RunLock) -> tuple[Run, Trainer]:
    """Check the request, and return its Run and a Trainer; write nothing. Collective."""
    run, dataset, network = find(comm, job, lock.require_free)
    config = with_arrays(with_findings(run.config, dataset.description), job.arrays)
    trainer = Trainer(config, dataset, comm, network)
    if job.start:
        on_all(comm, job.start.begin, trainer, job.request.given)
    if run.state:
        on_all(comm, trainer.restore, run.state, run.source)
    else:
        initial_weights.begin(trainer)
    return replace(run, config=config), trainer


def find(comm: Comm, job: Job, require_free: Guard = leave_unguarded) -> tuple[Run, Dataset, Network]:
    """Return what a job is about: the Run, its data and its network. Collective.

    require_free: raises an exception, on rank 0, if another job trains in the run's folder.
    """
    request = job.request
    if not job.layers_of:
        on_root(comm, models.check, request.config.model)
    if job.writes:
        run = on_root(comm, run_folder.find, request, warn, require_free)
    else:
        run = on_root(comm, run_folder.unwritten, request)
    on_root(comm, check_consistency, run.config)
    dataset = load_data(run.config, comm)
    asked = run.config
    run = replace(run, config=replace(asked, data_mode=dataset.mode, task=dataset.task))
    on_root(comm, check_consistency, run.config, asked)  # now that mode and task are known
    return run, dataset, network_of(comm, job, run, dataset)


def network_of(comm: Comm, job: Job, run: Run, dataset: Dataset) -> Network:
    """Return the network of a run, that of its checkpoint if it has one. Collective.

    Raises ConfigError if the job names another network.
    """
    request = job.request
    word = request.config.model if "model" in request.given or not run.state else None
    sources = code_sources(word, request.config.layers)
    saved = on_root(comm, network_in, run.state, run.source) if run.state else None
    if job.layers_of:
        network = given_network(job.layers_of, dataset, comm)
    else:
        kept = (saved, str(run.source)) if saved and not word else None
        network = find_network(run.config, dataset, comm, sources, kept)
    if run.state and saved:
        on_all(comm, require_same_network, run.state, saved, network)
    return network


def create(comm: Comm, run: Run, network: str, lock: RunLock) -> Run:
    """Make the run's folder, if there is to be one; return the Run. If ranks fail meanwhile, the others repeat it."""
    if not run.written:
        return run
    attempts = count()

    def attempt() -> Run:
        again = next(attempts) > 0
        return on_root(comm, run_folder.create, run, network, again, lock.hold)

    return retry_on_rank_failure(comm, attempt)
