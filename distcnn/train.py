"""Train a network: `mpirun -n 8 python -m distcnn.train`, or without mpirun; --help tells the options."""

import sys

from distcnn.config.versions import answer_version

if __name__ == "__main__":
    answer_version(sys.argv[1:])  # before the imports below, which need NumPy, Numba and MPI

from itertools import count

from distcnn import models
from distcnn.config.checks import check_consistency
from distcnn.config.parser import parse
from distcnn.errors import Stopped
from distcnn.parallel.collective import barrier, mark_collective, on_all, on_root
from distcnn.parallel.ulfm import retry_on_rank_failure
from distcnn.parallel.watch import IDLE, WAITING, WRITING
from distcnn.parallel.world import run as run_command
from distcnn.resilience.recovery import Recovery
from distcnn.run import run_folder
from distcnn.run.recorder import Recorder
from distcnn.system.signals import StopRequest
from distcnn.training.trainer import Trainer, data_of


def train(trainer, recorder, stop, config):
    """Train until all epochs are done, `config.max_steps` are, or any rank was asked to stop: then return True.

    What is due after a step comes first, for a rank that has died may have left it undone.
    """
    batches = trainer.remaining()
    while True:
        last = config.max_steps is not None and trainer.steps >= config.max_steps
        over = last or trainer.stop_requested or trainer.finished
        saves = over or trainer.between_epochs or every(config.checkpoint_every, trainer)
        if saves or every(config.replica_check_every, trainer) or not trainer.replicas.compared:
            trainer.replicas.compare()
        if saves:
            trainer.require_finite()
        if trainer.epoch_done or (last and not trainer.between_epochs):
            recorder.epoch(trainer, trainer.evaluations(), trainer.waits())
        if trainer.epoch_done:
            trainer.next_epoch()
        if saves:
            recorder.save(trainer)
        if over or trainer.finished:
            return trainer.stop_requested and not trainer.finished
        trainer.step(next(batches), stop.requested)
        recorder.step(trainer)


def every(steps, trainer):
    """Tell whether the number of finished steps is a multiple of `steps`; 0: never."""
    return bool(steps) and trainer.steps % steps == 0


def enough(trainer, config):
    """Tell whether all the steps that this call may take are done."""
    return trainer.finished or (config.max_steps is not None and trainer.steps >= config.max_steps)


def train_in(run, trainer):
    """Train in the run's folder, whoever dies; return whether training was asked to stop."""
    recorder = Recorder(run, trainer)

    def work():
        trainer.watch.note(IDLE)
        trainer.compile()
        barrier(trainer.comm)  # for those that still load kernels
        recorder.start()
        asked = train(trainer, recorder, stop, run.config)
        trainer.watch.note(WRITING)
        recorder.finish()
        tell_digest(trainer)
        trainer.watch.note(WAITING)
        on_root(trainer.comm, recorder.require_saved)
        return asked

    with StopRequest(run.config.max_time).listening() as stop, trainer.watch.watching():
        try:
            recorder.say(summary(run, trainer))
            return Recovery(trainer, recorder).run(work)
        finally:
            recorder.finish()


def tell_digest(trainer):
    """Print the line that two people compare."""
    if trainer.comm.rank == 0:
        print(f"weights_sha256 {trainer.digest}", flush=True)


def summary(run, trainer):
    """Return what is about to happen, in a line."""
    images, ranks = trainer.dataset.train.images, trainer.comm.size
    shape = " x ".join(map(str, images.shape[1:]))
    where = f"from step {trainer.steps} in {run.folder}" if trainer.steps else f"in {run.folder}"
    return (
        f"{run.config.model}, {trainer.net.trained:,} parameters, on {trainer.dataset.name}: {len(images):,} "
        f"images {shape}, {len(trainer.dataset.classes)} classes; {ranks} rank{'s' * (ranks > 1)}, {where}"
    )


def prepare(comm, request):
    """Check everything, and return the Run and its Training; nothing is written."""
    on_root(comm, models.check, request.config.model)
    run = on_root(comm, run_folder.find, request, warn)
    config = run.config
    on_root(comm, check_consistency, config)
    trainer = Trainer(config, data_of(config, comm), comm)
    if run.state:
        on_all(comm, trainer.restore, run.state, run.source)
    return run, trainer


def create(comm, run):
    """Make the run's folder, whoever dies, and return the Run."""
    attempts = count()

    def attempt():
        again = next(attempts) > 0
        return on_root(comm, run_folder.create, run, again)

    return retry_on_rank_failure(comm, attempt)


def main(comm):
    """Check everything, then write, then train: a mistake is told before anything is written."""
    request = retry_on_rank_failure(
        comm, lambda: on_root(comm, parse, sys.argv[1:], "python -m distcnn.train")
    )
    if request.list_models:
        return on_root(comm, lambda: print(models.list_models()))
    run, trainer = retry_on_rank_failure(comm, lambda: prepare(comm, request))
    if enough(trainer, run.config):
        return tell_digest(trainer)
    run = create(comm, run)
    trainer.repartition()  # by those that are left
    if train_in(run, trainer):
        raise mark_collective(
            Stopped(f"stopped as asked after step {trainer.steps}: --resume auto goes on from there")
        )


def warn(text):
    """Tell what is not as it should be."""
    print(f"distcnn: warning: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    run_command(main)
