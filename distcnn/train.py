"""Train a network: `mpirun -n 8 python -m distcnn.train`, or without mpirun; --help tells the options."""

import sys

from distcnn import models, rundir
from distcnn.config import parse
from distcnn.errors import Stopped
from distcnn.parallel.agreement import agreed, on_all, on_root
from distcnn.parallel.world import run as run_command
from distcnn.report.recorder import Nothing, Recorder
from distcnn.stop import StopRequest
from distcnn.training import Training, data_of


def train(training, recorder, stop, config):
    """Train until all epochs are done, `config.max_steps` are, or any rank was asked to stop: then return True."""
    for blocks in training.remaining():
        asked = training.step(blocks, stop.requested)
        recorder.step(training)
        last = enough(training, config)
        if training.epoch_done or last:
            recorder.epoch(training, training.evaluations())
        due = training.epoch_done or last or asked
        if training.epoch_done:
            training.next_epoch()
        if due or (config.checkpoint_every and training.steps % config.checkpoint_every == 0):
            recorder.save(training)
        if last or asked:
            return asked and not training.finished
    return False


def enough(training, config):
    """Tell whether all the steps that this call may take are done."""
    return training.finished or (config.max_steps is not None and training.steps >= config.max_steps)


def train_in(run, training):
    """Train in the run's folder; return whether training was asked to stop."""
    recorder = Recorder(run, training) if training.comm.rank == 0 else Nothing()
    with StopRequest(run.config.max_time).listening() as stop:
        try:
            recorder.say(summary(run, training))
            training.compile()
            recorder.start()
            return train(training, recorder, stop, run.config)
        finally:
            recorder.close()


def summary(run, training):
    """Return what is about to happen, in a line."""
    images, ranks = training.dataset.train.images, training.comm.size
    shape = " x ".join(map(str, images.shape[1:]))
    where = f"from step {training.steps} in {run.folder}" if training.steps else f"in {run.folder}"
    return (
        f"{run.config.model}, {training.net.trained:,} parameters, on {training.dataset.name}: {len(images):,} "
        f"images {shape}, {len(training.dataset.classes)} classes; {ranks} rank{'s' * (ranks > 1)}, {where}"
    )


def main(comm):
    """Check everything, then write, then train: a mistake is told before anything is written."""
    request = on_root(comm, lambda: parse(sys.argv[1:], "python -m distcnn.train"))
    if request.listing:
        return on_root(comm, lambda: print(models.listing()))
    on_root(comm, lambda: models.check(request.config.model))
    run = on_root(comm, lambda: rundir.find(request, warn))
    training = Training(run.config, data_of(run.config, comm), comm)
    if run.state:
        on_all(comm, lambda: training.restore(run.state, run.source))
    stopped = False
    if not enough(training, run.config):
        run = on_root(comm, lambda: rundir.create(run))
        stopped = train_in(run, training)
    if comm.rank == 0:
        print(f"weights_sha256 {training.net.digest}", flush=True)
    if stopped:
        raise agreed(
            Stopped(f"stopped as asked after step {training.steps}: --resume auto goes on from there")
        )


def warn(text):
    """Tell what is not as it should be."""
    print(f"distcnn: warning: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    run_command(main)
