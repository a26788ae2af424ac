"""The training loop, and what is due after a step."""

from __future__ import annotations

from collections.abc import Sequence

from distcnn.config.settings import Config
from distcnn.errors import DataError, StepDiverged
from distcnn.job.callback import EpochCallback
from distcnn.network.plan import Block
from distcnn.parallel.heartbeat import WAITING
from distcnn.resilience.diagnose import diagnose, explained
from distcnn.resilience.replica_check import Replicas
from distcnn.run.recorder import Recorder, score
from distcnn.system.signals import StopRequest
from distcnn.training import early_stopping
from distcnn.training.trainer import Trainer


def train(
    trainer: Trainer, replicas: Replicas, recorder: Recorder, stop: StopRequest, callback: EpochCallback
) -> bool:
    """Train until the last epoch, `max_steps`, or a request to stop; return whether it was a request to stop.

    replicas: compares this rank's replica with those of the others.
    recorder: writes and shows the run.
    stop: a request by a signal or the time limit.
    callback: called after each epoch; it may stop training, too.

    `after_step` is also called before the first step, because after a recovery a rank that has died may not have
    finished it. So its work may be done twice.
    """
    batches = trainer.remaining()
    try:
        over = after_step(trainer, replicas, recorder, callback)
        while not over:
            step(trainer, replicas, next(batches), stop.requested or recorder.must_stop)
            recorder.step(trainer.progress)
            over = after_step(trainer, replicas, recorder, callback)
    except DataError:  # a file that is streamed cannot be read any more
        save(trainer, replicas, recorder)
        raise
    return (trainer.progress.stop_requested or callback.stops) and not trainer.finished


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


def after_step(trainer: Trainer, replicas: Replicas, recorder: Recorder, callback: EpochCallback) -> bool:
    """Compare replicas, evaluate, begin the next epoch, save and call back, each if it is due.

    Return whether training is over.
    """
    config = trainer.config
    last = enough_steps(trainer, config)
    over = last or trainer.progress.stop_requested or trainer.finished
    saves = over or trainer.between_epochs or every(config.checkpoint_every, trainer)
    if saves:
        require_sound(trainer, replicas)
    elif every(config.replica_check_every, trainer) or not replicas.compared:
        replicas.compare(trainer.arrays, trainer.progress)
    ends = trainer.epoch_done or (last and not trainer.between_epochs)
    if ends:
        recorder.epoch(trainer.progress, trainer.evaluations(), waited_seconds(trainer), trainer.digest)
    if trainer.epoch_done:
        trainer.next_epoch(score(recorder.record))
        if trainer.stopped_early:
            recorder.say(early_stopping.told(trainer.progress))
    if saves:
        recorder.save(trainer.steps, trainer.state)
    asked = ends and callback(recorder.record)  # last, so that what fails there loses nothing
    return asked or over or trainer.finished


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
