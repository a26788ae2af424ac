"""Run a job: prepare it, train with recovery from failures, and say what has become of it."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import dataclass

from distcnn.config import model_word
from distcnn.config.settings import Config
from distcnn.config.tasks import TASKS
from distcnn.data.summary import understood
from distcnn.job.callback import EpochCallback, Record
from distcnn.job.job import Job
from distcnn.job.loop import enough_steps, train
from distcnn.job.prepare import create, make_lock, prepare
from distcnn.network.losses import doubts
from distcnn.parallel.collective import barrier, on_root
from distcnn.parallel.comm import Comm
from distcnn.parallel.heartbeat import IDLE, WAITING, WRITING
from distcnn.parallel.retry import retry_on_rank_failure
from distcnn.resilience.recovery import Recovery
from distcnn.resilience.replica_check import Replicas
from distcnn.resilience.watchdog import Watchdog
from distcnn.run.metrics_log import Metrics
from distcnn.run.recorder import Recorder
from distcnn.run.run_folder import Run
from distcnn.run.run_lock import RunLock
from distcnn.system.counts import counted
from distcnn.system.signals import StopRequest
from distcnn.system.terminal_text import say
from distcnn.training.final_report import write_report
from distcnn.training.trainer import Trainer


@dataclass(frozen=True)
class Ended:
    """What has become of a job.

    run: its folder and settings.
    trainer: holds the trained net.
    history: the records of its metrics, the same on every rank.
    stopped: whether a request, or the callback, has stopped it before the last epoch.
    """

    run: Run
    trainer: Trainer
    history: list[Record]
    stopped: bool = False


def run_job(comm: Comm, job: Job) -> Ended:
    """Do a job on all ranks together; a user's mistake raises an exception before anything is written."""
    with retry_on_rank_failure(comm, make_lock, comm) as lock:
        run, trainer = retry_on_rank_failure(comm, prepare, comm, job, lock)
        with closing(trainer):
            if trainer.finished or enough_steps(trainer, run.config):
                report_finished(run, trainer, job)
                return Ended(run, trainer, on_root(comm, Metrics(run.metrics).records))
            run = create(comm, run, trainer.network.text, lock)
            trainer.repartition()  # as ranks may have failed since the trainer was made
            return train_in(run, trainer, lock, job)


def train_in(run: Run, trainer: Trainer, lock: RunLock, job: Job) -> Ended:
    """Train and write to the run's folder, with recovery from failures; return what has become of the job."""
    comm, heartbeat, data = trainer.comm, trainer.heartbeat, trainer.dataset
    watchdog = Watchdog(heartbeat, comm.size, hang_timeout(run.config, job, comm))
    replicas = Replicas(comm, heartbeat)
    callback = EpochCallback(comm, heartbeat, job.callback, is_asked=not job.is_command)
    recorder = Recorder(run, comm, heartbeat, lock, data.name, len(data.train.labels), trainer.progress)

    def work() -> Ended:
        heartbeat.beat(IDLE)
        trainer.compile()
        barrier(comm)  # waits for the ranks that still load kernels
        recorder.start()
        stopped = train(trainer, replicas, recorder, stop, callback)
        if run.written and not stopped:
            write_report(trainer, recorder)
        heartbeat.beat(WRITING)
        recorder.finish()
        if job.is_command:
            print_digest(trainer)
        heartbeat.beat(WAITING)
        on_root(comm, recorder.require_saved)
        history = [] if job.is_command else on_root(comm, recorder.metrics.records)
        return Ended(run, trainer, history, stopped)

    request = StopRequest(run.config.max_time, of_process=job.is_command)
    with request.listening() as stop, watchdog.watching():
        try:
            for line in lines_before(run, trainer, job):
                recorder.say(line)
            return Recovery(comm, trainer, replicas, recorder, watchdog).run(work)
        finally:
            recorder.finish()


def hang_timeout(config: Config, job: Job, comm: Comm) -> float:
    """Return the seconds after which a rank that hangs is killed; 0: never.

    A process of the user's that is the only rank is killed only if the user says so: no other rank waits for it.
    """
    asked = job.is_command or comm.size > 1 or "hang_timeout" in job.request.given
    return config.hang_timeout if asked else 0.0


def lines_before(run: Run, trainer: Trainer, job: Job) -> list[str]:
    """Return the lines that a job shows before it trains: what is understood of the data, and the title."""
    if run.config.progress == "none" and not job.is_command:
        return []
    notes = *doubts(trainer.net.task, trainer.network.layers[-1]), *trainer.notes
    lines = *understood(trainer.dataset.description), *notes, title(run, trainer)
    return [job.worded(line) for line in lines]


def print_digest(trainer: Trainer) -> None:
    """Print, on rank 0, the digest of the weights, by which two runs can be compared."""
    if trainer.comm.rank == 0:
        say(f"weights_sha256 {trainer.digest}")


def title(run: Run, trainer: Trainer) -> str:
    """Return a line that describes the run: model, data, ranks and folder."""
    model = model_word.parse(run.config.model).title
    dataset = trainer.dataset
    images, classes = dataset.train.images, counted(len(dataset.classes), TASKS[dataset.task].output)
    shape, ranks = " x ".join(map(str, images.shape[1:])), counted(trainer.comm.size, "rank")
    since = f", from step {trainer.steps}" if trainer.steps else ","
    where = f"{since} in {run.folder}" if run.written else ""
    return (
        f"{model}, {counted(trainer.net.trained, 'parameter')}, on {dataset.name}: "
        f"{counted(len(images), 'image')} {shape}, {classes}; {ranks}{where}"
    )


def report_finished(run: Run, trainer: Trainer, job: Job) -> None:
    """Say, on rank 0, that the run has nothing left to do and how to train on; after a command, print the digest."""
    done, option = counted(trainer.steps, "step"), "--max-steps"
    if trainer.finished:
        done = counted(trainer.progress.epoch, "epoch")
        option = "--patience" if trainer.stopped_early else "--epochs"
    if trainer.comm.rank == 0:
        remedy = f"to train on, resume it with a higher {option}"
        say(job.worded(f"distcnn: {run.folder} is finished, as it has done {done}; {remedy}"), sys.stderr)
    if job.is_command:
        print_digest(trainer)
