"""Train a network: `mpirun -n 8 python -m distcnn.train`, or without mpirun; --help lists the options."""

from __future__ import annotations

import sys

from distcnn.config.startup import begin

if __name__ == "__main__":
    begin(sys.argv[1:])  # before the imports below, which need NumPy, Numba and MPI

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

from distcnn import models
from distcnn.config import model_word
from distcnn.config.checks import check_consistency
from distcnn.config.parser import parse
from distcnn.config.settings import Config, Request
from distcnn.data.dataset import Dataset
from distcnn.data.settings import with_findings
from distcnn.data.summary import understood
from distcnn.errors import DataError, StepDiverged, Stopped
from distcnn.models.base import Network
from distcnn.models.networks import code_sources
from distcnn.network.plan import Block
from distcnn.network.summary import summary
from distcnn.parallel.collective import barrier, mark_collective, on_all, on_root
from distcnn.parallel.comm import Comm
from distcnn.parallel.heartbeat import IDLE, WAITING, WRITING
from distcnn.parallel.retry import retry_on_rank_failure
from distcnn.parallel.ulfm import UlfmComm
from distcnn.parallel.world import run as run_command
from distcnn.resilience.diagnose import diagnose, explained
from distcnn.resilience.recovery import Recovery
from distcnn.resilience.replica_check import Replicas
from distcnn.resilience.watchdog import Watchdog
from distcnn.run import run_folder
from distcnn.run.recorder import Recorder, score
from distcnn.run.run_folder import Guard, Run, leave_unguarded
from distcnn.run.run_lock import RunLock, job_token
from distcnn.system.counts import counted
from distcnn.system.processes import this_process
from distcnn.system.signals import StopRequest
from distcnn.system.terminal_text import say, warn
from distcnn.training import early_stopping, initial_weights
from distcnn.training.load import network_in, require_same_network
from distcnn.training.setup import find_network, load_data
from distcnn.training.trainer import Trainer


def train(trainer: Trainer, replicas: Replicas, recorder: Recorder, stop: StopRequest) -> bool:
    """Train until the last epoch, `max_steps`, or a request to stop; return whether it was a request to stop.

    `after_step` is also called before the first step, because after a recovery a rank that has died may not have
    finished it. So its work may be done twice.
    """
    batches = trainer.remaining()
    try:
        over = after_step(trainer, replicas, recorder)
        while not over:
            step(trainer, replicas, next(batches), stop.requested or recorder.must_stop)
            recorder.step(trainer.progress)
            over = after_step(trainer, replicas, recorder)
    except DataError:  # a file that is streamed cannot be read any more
        save(trainer, replicas, recorder)
        raise
    return trainer.progress.stop_requested and not trainer.finished


def step(trainer: Trainer, replicas: Replicas, blocks: Sequence[Block], stop: bool) -> None:
    """Train on a batch; if the step diverges, raise Diverged, which names layer and samples.

    blocks: this rank's part of the batch.
    stop: whether this rank was asked to stop.

    Raises ReplicaMismatch instead if the step has diverged because replicas differ.
    """
    try:
        trainer.step(blocks, stop)
    except StepDiverged as error:
        replicas.check_equal(trainer.arrays, trainer.progress)
        finding = trainer.recompute(error.blocks, diagnose)
        raise explained(trainer.comm, error.step, finding) from None


def after_step(trainer: Trainer, replicas: Replicas, recorder: Recorder) -> bool:
    """Compare replicas, evaluate, begin the next epoch and save, each if it is due; return whether training is over."""
    config = trainer.config
    last = enough_steps(trainer, config)
    over = last or trainer.progress.stop_requested or trainer.finished
    saves = over or trainer.between_epochs or every(config.checkpoint_every, trainer)
    if saves:
        require_sound(trainer, replicas)
    elif every(config.replica_check_every, trainer) or not replicas.compared:
        replicas.compare(trainer.arrays, trainer.progress)
    if trainer.epoch_done or (last and not trainer.between_epochs):
        recorder.epoch(trainer.progress, trainer.evaluations(), waited_seconds(trainer), trainer.digest)
    if trainer.epoch_done:
        trainer.next_epoch(score(recorder.record))
        if trainer.stopped_early:
            recorder.say(early_stopping.told(trainer.progress))
    if saves:
        recorder.save(trainer.steps, trainer.state)
    return over or trainer.finished


def require_sound(trainer: Trainer, replicas: Replicas) -> None:
    """Raise an exception, on all ranks, if replicas differ or weights are not finite, so that none are saved."""
    replicas.compare(trainer.arrays, trainer.progress)
    trainer.replica.require_finite()


def save(trainer: Trainer, replicas: Replicas, recorder: Recorder) -> None:
    """Save the state after the last finished step."""
    require_sound(trainer, replicas)
    recorder.save(trainer.steps, trainer.state)


def every(steps: int, trainer: Trainer) -> bool:
    """Return whether the number of finished steps is a multiple of `steps`; False if `steps` is 0."""
    return bool(steps) and trainer.steps % steps == 0


def enough_steps(trainer: Trainer, config: Config) -> bool:
    """Return whether `max_steps` are done."""
    return config.max_steps is not None and trainer.steps >= config.max_steps


def waited_seconds(trainer: Trainer) -> list[float]:
    """Return the seconds that each rank has waited for other ranks in this epoch. Collective."""
    trainer.heartbeat.beat(WAITING)
    return trainer.comm.allgather(round(trainer.heartbeat.waited, 3))


def train_in(run: Run, trainer: Trainer, lock: RunLock) -> bool:
    """Train and write to the run's folder, with recovery from failures; return whether a request stopped training."""
    comm, heartbeat, data = trainer.comm, trainer.heartbeat, trainer.dataset
    watchdog, replicas = Watchdog(heartbeat, comm.size, run.config.hang_timeout), Replicas(comm, heartbeat)
    recorder = Recorder(run, comm, heartbeat, lock, data.name, len(data.train.labels), trainer.progress)

    def work() -> bool:
        heartbeat.beat(IDLE)
        trainer.compile()
        barrier(comm)  # waits for the ranks that still load kernels
        recorder.start()
        stop_requested = train(trainer, replicas, recorder, stop)
        heartbeat.beat(WRITING)
        recorder.finish()
        print_digest(trainer)
        heartbeat.beat(WAITING)
        on_root(comm, recorder.require_saved)
        return stop_requested

    with StopRequest(run.config.max_time).listening() as stop, watchdog.watching():
        try:
            for line in (*understood(data.description), *trainer.notes):
                recorder.say(line)
            recorder.say(title(run, trainer))
            return Recovery(comm, trainer, replicas, recorder, watchdog).run(work)
        finally:
            recorder.finish()


def print_digest(trainer: Trainer) -> None:
    """Print, on rank 0, the digest of the weights, by which two runs can be compared."""
    if trainer.comm.rank == 0:
        say(f"weights_sha256 {trainer.digest}")


def title(run: Run, trainer: Trainer) -> str:
    """Return a line that describes the run: model, data, ranks and folder."""
    model = model_word.parse(run.config.model).title
    images, classes = trainer.dataset.train.images, counted(len(trainer.dataset.classes), "class")
    shape, ranks = " x ".join(map(str, images.shape[1:])), counted(trainer.comm.size, "rank")
    where = f"from step {trainer.steps} in {run.folder}" if trainer.steps else f"in {run.folder}"
    return (
        f"{model}, {counted(trainer.net.trained, 'parameter')}, on {trainer.dataset.name}: "
        f"{counted(len(images), 'image')} {shape}, {classes}; {ranks}, {where}"
    )


def make_lock(comm: Comm) -> RunLock:
    """Return this job's lock on its run's folder, for rank 0 to hold. Collective.

    With ULFM another rank may become rank 0 and write, so that all ranks are the holder.
    """
    tokens, processes = zip(*comm.allgather((job_token(), this_process())), strict=True)
    return RunLock(tokens[0], processes if isinstance(comm, UlfmComm) else processes[:1])


def prepare(comm: Comm, request: Request, lock: RunLock) -> tuple[Run, Trainer]:
    """Check the request, and return its Run and a Trainer; write nothing. Collective."""
    run, dataset, network = find(comm, request, lock.require_free)
    config = with_findings(run.config, dataset.description)
    trainer = Trainer(config, dataset, comm, network)
    if run.state:
        on_all(comm, trainer.restore, run.state, run.source)
    else:
        initial_weights.begin(trainer)
    return replace(run, config=config), trainer


def find(comm: Comm, request: Request, require_free: Guard = leave_unguarded) -> tuple[Run, Dataset, Network]:
    """Return what a request asks for: the Run, its data and its network. Collective.

    require_free: raises an exception, on rank 0, if another job trains in the run's folder.
    """
    on_root(comm, models.check, request.config.model)
    run = on_root(comm, run_folder.find, request, warn, require_free)
    on_root(comm, check_consistency, run.config)
    dataset = load_data(run.config, comm)
    run = replace(run, config=replace(run.config, data_mode=dataset.mode))
    on_root(comm, check_consistency, run.config)  # now that the mode is known
    return run, dataset, network_of(comm, request, run, dataset)


def network_of(comm: Comm, request: Request, run: Run, dataset: Dataset) -> Network:
    """Return the network of a run, that of its checkpoint if it has one. Collective.

    Raises ConfigError if the request names another network.
    """
    config, word = run.config, request.config.model if "model" in request.given or not run.state else None
    sources = code_sources(word, request.config.layers)
    if not run.state:
        return find_network(config, dataset, comm, sources)
    saved = on_root(comm, network_in, run.state, run.source)
    network = find_network(config, dataset, comm, sources, None if word else (saved, str(run.source)))
    on_all(comm, require_same_network, run.state, saved, network)
    return network


def create(comm: Comm, run: Run, network: str, lock: RunLock) -> Run:
    """Make the run's folder, and return the Run; if ranks fail meanwhile, repeat it with the others."""
    attempts = count()

    def attempt() -> Run:
        again = next(attempts) > 0
        return on_root(comm, run_folder.create, run, network, again, lock.hold)

    return retry_on_rank_failure(comm, attempt)


def main(comm: Comm) -> None:
    """Train as the command line says; a user's mistake is reported before anything is written."""
    request = retry_on_rank_failure(comm, on_root, comm, parse, sys.argv[1:], "python -m distcnn.train")
    if request.list_models:
        return on_root(comm, print_models)
    if request.summary:
        return print_summary(comm, request)
    with retry_on_rank_failure(comm, make_lock, comm) as lock:
        run, trainer = retry_on_rank_failure(comm, prepare, comm, request, lock)
        if trainer.finished or enough_steps(trainer, run.config):
            return report_finished(run, trainer)
        run = create(comm, run, trainer.network.text, lock)
        trainer.repartition()  # as ranks may have failed since the trainer was made
        if train_in(run, trainer, lock):
            message = f"stopped on request after step {trainer.steps}: continue with --resume auto"
            raise mark_collective(Stopped(message))


def report_finished(run: Run, trainer: Trainer) -> None:
    """Say, on rank 0, that the run has nothing left to do and how to train on, and print the digest."""
    done, option = counted(trainer.steps, "step"), "--max-steps"
    if trainer.finished:
        done = counted(trainer.progress.epoch, "epoch")
        option = "--patience" if trainer.stopped_early else "--epochs"
    if trainer.comm.rank == 0:
        remedy = f"to train on, resume it with a higher {option}"
        say(f"distcnn: {run.folder} is finished, as it has done {done}; {remedy}", sys.stderr)
    print_digest(trainer)


def print_models() -> None:
    """Print the table of models."""
    print(models.list_models())


def print_summary(comm: Comm, request: Request) -> None:
    """Print a table of the network for the images and classes of the data. Collective."""
    _, dataset, network = find(comm, request)
    if comm.rank == 0:
        say(summary(network.layers, dataset.train.images.shape[1:]), lines=True)


if __name__ == "__main__":
    run_command(main)
