"""Train a network: `mpirun -n 8 python -m distcnn.train`, or without mpirun; --help tells the options."""

import sys
from itertools import count

from distcnn import models
from distcnn.config.checks import require_sense
from distcnn.config.settings import parse
from distcnn.errors import Stopped
from distcnn.parallel.collective import agreed, on_all, on_root, wait
from distcnn.parallel.ulfm import undisturbed
from distcnn.parallel.watch import IDLE, WAITING, WRITING
from distcnn.parallel.world import run as run_command
from distcnn.resilience.recovery import Survival
from distcnn.run import run_folder
from distcnn.run.recorder import Recorder
from distcnn.system.signals import StopRequest
from distcnn.training.trainer import Training, data_of


def train(training, recorder, stop, config):
    """Train until all epochs are done, `config.max_steps` are, or any rank was asked to stop: then return True.

    What is due after a step comes first, for a rank that has died may have left it undone.
    """
    batches = training.remaining()
    while True:
        last = config.max_steps is not None and training.steps >= config.max_steps
        over = last or training.asked or training.finished
        saves = over or training.between_epochs or every(config.checkpoint_every, training)
        if saves or every(config.compare_every, training) or not training.replicas.compared:
            training.replicas.compare()
        if saves:
            training.require_finite()
        if training.epoch_done or (last and not training.between_epochs):
            recorder.epoch(training, training.evaluations(), training.waits())
        if training.epoch_done:
            training.next_epoch()
        if saves:
            recorder.save(training)
        if over or training.finished:
            return training.asked and not training.finished
        training.step(next(batches), stop.requested)
        recorder.step(training)


def every(steps, training):
    """Tell whether the number of finished steps is a multiple of `steps`; 0: never."""
    return bool(steps) and training.steps % steps == 0


def enough(training, config):
    """Tell whether all the steps that this call may take are done."""
    return training.finished or (config.max_steps is not None and training.steps >= config.max_steps)


def train_in(run, training):
    """Train in the run's folder, whoever dies; return whether training was asked to stop."""
    recorder = Recorder(run, training)

    def work():
        training.watch.note(IDLE)
        training.compile()
        wait(training.comm)  # for those that still load kernels
        recorder.start()
        asked = train(training, recorder, stop, run.config)
        training.watch.note(WRITING)
        recorder.finish()
        tell_digest(training)
        training.watch.note(WAITING)
        on_root(training.comm, recorder.require_saved)
        return asked

    with StopRequest(run.config.max_time).listening() as stop, training.watch.watching():
        try:
            recorder.say(summary(run, training))
            return Survival(training, recorder).run(work)
        finally:
            recorder.finish()


def tell_digest(training):
    """Print the line that two people compare."""
    if training.comm.rank == 0:
        print(f"weights_sha256 {training.digest}", flush=True)


def summary(run, training):
    """Return what is about to happen, in a line."""
    images, ranks = training.dataset.train.images, training.comm.size
    shape = " x ".join(map(str, images.shape[1:]))
    where = f"from step {training.steps} in {run.folder}" if training.steps else f"in {run.folder}"
    return (
        f"{run.config.model}, {training.net.trained:,} parameters, on {training.dataset.name}: {len(images):,} "
        f"images {shape}, {len(training.dataset.classes)} classes; {ranks} rank{'s' * (ranks > 1)}, {where}"
    )


def prepare(comm, request):
    """Check everything, and return the Run and its Training; nothing is written."""
    on_root(comm, lambda: models.check(request.config.model))
    run = on_root(comm, lambda: run_folder.find(request, warn))
    config = run.config
    on_root(comm, lambda: require_sense(config))
    training = Training(config, data_of(config, comm), comm)
    if run.state:
        on_all(comm, lambda: training.restore(run.state, run.source))
    return run, training


def create(comm, run):
    """Make the run's folder, whoever dies, and return the Run."""
    attempts = count()

    def attempt():
        again = next(attempts) > 0
        return on_root(comm, lambda: run_folder.create(run, again))

    return undisturbed(comm, attempt)


def main(comm):
    """Check everything, then write, then train: a mistake is told before anything is written."""
    request = undisturbed(comm, lambda: on_root(comm, lambda: parse(sys.argv[1:], "python -m distcnn.train")))
    if request.listing:
        return on_root(comm, lambda: print(models.listing()))
    run, training = undisturbed(comm, lambda: prepare(comm, request))
    if enough(training, run.config):
        return tell_digest(training)
    run = create(comm, run)
    training.divide()  # by those that are left
    if train_in(run, training):
        raise agreed(
            Stopped(f"stopped as asked after step {training.steps}: --resume auto goes on from there")
        )


def warn(text):
    """Tell what is not as it should be."""
    print(f"distcnn: warning: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    run_command(main)
