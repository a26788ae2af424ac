"""Train to the end, even if ranks or hosts fail: `python -m distcnn.launch -n 8 -- OPTIONS of distcnn.train`.

The launcher restarts a job that has ended early from its newest good checkpoint, which gives the same bits. The job
itself reports whether it has finished, see `system.job_status`. This module does not import MPI.
"""

import sys

from distcnn.config.startup import begin

if __name__ == "__main__":
    begin(sys.argv[1:])  # before the imports below, which need NumPy

import argparse
import os
import shlex
import signal
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import Any

from distcnn.config import parser
from distcnn.config.settings import SETTINGS, Config, Request, option
from distcnn.config.types import Real, Type, Whole
from distcnn.errors import ConfigError, DistcnnError, Stopped
from distcnn.run import checkpoint, run_folder
from distcnn.run.run_lock import launcher_lock
from distcnn.system import job_status
from distcnn.system.counts import counted
from distcnn.system.job_status import BEGUN, STARTED, TRAINING
from distcnn.system.mpirun import Job
from distcnn.system.python import python
from distcnn.system.terminal_text import say, warn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
ATTEMPTS = 3  # the launcher gives up after so many jobs in a row without a newer checkpoint
PAUSE = 0.05  # seconds between two checks of the job's status
LOOK = 1  # seconds between two searches for the job's processes
GRACE = 10  # seconds that mpirun has to end after its ranks have ended


@dataclass
class StopSignals:
    """Counts the signals that ask the launcher to stop.

    count: all of them.
    urgent: those other than SIGUSR1 and SIGUSR2; if there are two, the launcher kills the job.
    """

    count: int = 0
    urgent: int = 0

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Count a signal."""
        self.count += 1
        self.urgent += number not in (signal.SIGUSR1, signal.SIGUSR2)

    @contextmanager
    def listening(self) -> Iterator["StopSignals"]:
        """Count signals inside the block; if SIGHUP is ignored, as under nohup, it stays ignored."""
        nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        handled = [each for each in SIGNALS if not (nohup and each == signal.SIGHUP)]
        previous = {each: signal.signal(each, self.handle) for each in handled}
        try:
            yield self
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return the launcher's options, and those of training, which come after the `--`."""
    end = argv.index("--") if "--" in argv else len(argv)
    usage = "%(prog)s -n RANKS [options] -- [options of distcnn.train]"
    what = "Train on several ranks, and start again from the newest good checkpoint when the job dies."
    made = parser.Parser("python -m distcnn.launch", usage=usage, description=what)
    made.add_argument("-n", dest="ranks", metavar="N", required=True, help="the number of ranks")
    restarts = "give up after so many restarts [100]"
    made.add_argument("--max-restarts", metavar="R", default="100", help=restarts)
    limit = "restart the job if not all ranks have started within so many seconds [300]"
    made.add_argument("--start-limit", metavar="SECONDS", default="300", help=limit)
    more = 'more options for mpirun, such as "--hostfile hosts"'
    made.add_argument("--mpirun", metavar="OPTIONS", default="", help=more)
    _require_separated(argv[:end])
    found = made.parse_args(argv[:end])
    found.ranks = _number(found.ranks, Whole(1), "-n")
    found.max_restarts = _number(found.max_restarts, Whole(0), "--max-restarts")
    found.start_limit = _number(found.start_limit, Real(0), "--start-limit")
    return found, list(argv[end + 1 :])


def _require_separated(words: Sequence[str]) -> None:
    """Raise ConfigError if an option of training is among the launcher's, before the `--`."""
    for name in (word.partition("=")[0] for word in words):
        if name in map(option, SETTINGS):
            raise ConfigError(
                f"{name} is an option of training, which come behind --, as in: -n 2 -- {name} ..."
            )


def launch(arguments: argparse.Namespace, options: list[str], signals: StopSignals) -> int:
    """Run jobs until one has finished, and return its exit code.

    arguments: the launcher's options, as `parse` returns them.
    options: those of training.
    signals: the requests to stop, which the launcher forwards to the job.

    Raises DistcnnError if no restarts are left or restarts do not help, and Stopped if a job was stopped before it had
    saved.
    """
    request = parser.parse(options, "python -m distcnn.launch -n N --")
    begin, begun, failures = time.monotonic(), request.config.resume in ("never", "auto"), 0
    with _locked(request, signals) as folder, job_status.file_in(folder) as status_file:
        for attempt in range(arguments.max_restarts + 1):
            ours = {"--out": str(folder)} | _time_left(request.config, begin)
            ours |= {"--resume": "auto"} if attempt and begun else {}
            command = [*train_command(), *_without(options, ours), *chain.from_iterable(ours.items())]
            before = _newest_step(folder)
            code, how = _run_job(arguments, command, status_file, signals)
            if code is not None:
                return code
            begun = begun or BEGUN in job_status.read(status_file)
            after = _newest_step(folder)
            failures = failures + 1 if after == before else 0
            where = f"from step {after}" if after else "from the beginning"
            _require_hope(signals, failures, how, where)
            if attempt < arguments.max_restarts:
                warn(f"the job ended: {how}; restart {attempt + 1} of {arguments.max_restarts}, {where}")
    message = f"gave up after {counted(arguments.max_restarts, 'restart')}; the last job ended: {how}"
    raise DistcnnError(f"{message}; with --resume auto, training continues {where}")


def train_command() -> list[str]:
    """Return the words that start the training command."""
    return [*python(), "-m", "distcnn.train"]


def _require_hope(signals: StopSignals, failures: int, how: str, where: str) -> None:
    """Raise Stopped or DistcnnError unless another job shall be started.

    failures: how many jobs in a row have ended without a newer checkpoint.
    how: a phrase that says how the last job has ended.
    where: a phrase that says from where the next job would continue.
    """
    if signals.count:
        message = f"stopped on request, but without saving ({how})"
        raise Stopped(f"{message}: with --resume auto, training continues {where}")
    if failures == ATTEMPTS:
        raise DistcnnError(
            f"gave up: {ATTEMPTS} times in a row the job ended without a newer checkpoint, the last time: {how}; "
            f"see its messages above; with --resume auto, training continues {where}"
        )


def _run_job(
    arguments: argparse.Namespace, command: list[str], status_file: Path, signals: StopSignals
) -> tuple[int | None, str]:
    """Run one job to its end; return its exit code, None if it reported none, and a phrase on how it ended."""
    status_file.write_bytes(b"")
    job = Job(arguments.ranks, command, status_file, shlex.split(arguments.mpirun))
    try:
        how = _watch(job, arguments.start_limit, status_file, signals)
    finally:
        job.end()
    statuses = job_status.read(status_file)
    code = job_status.exit_code(statuses)
    if code is None and STARTED not in statuses and job.process.returncode == 2:
        code = 2  # mpirun has found a mistake, or the ranks have found no MPI
    return code, how or f"mpirun ended with exit code {job.process.returncode}"


def _watch(job: Job, start_limit: float, status_file: Path, signals: StopSignals) -> str | None:
    """Forward requests to stop to a job until it has ended; return None, or why it must be killed."""
    begin, asked, over = time.monotonic(), False, None
    looks, started = begin + LOOK, False
    while not job.ended:
        time.sleep(PAUSE)
        requests, urgent = signals.count, signals.urgent  # before the status, which may change meanwhile
        statuses = job_status.read(status_file)
        now = time.monotonic()
        if now > looks or not started:  # segments are made while the job starts
            job.look()
            looks, started = now + LOOK, STARTED in statuses
        if STARTED not in statuses and now - begin > start_limit:
            return f"not all ranks had started after {start_limit:g} s"
        if urgent > 1 or (requests and TRAINING not in statuses):
            return "killed on request"
        if requests and not asked:
            job.ask_to_stop()
            asked = True
        if job_status.exit_code(statuses) is not None:
            over = over or now
            if now - over > GRACE:
                return "mpirun did not end"
    return None


@contextmanager
def _locked(request: Request, signals: StopSignals) -> Iterator[Path]:
    """Yield the folder of the run that is asked for, which this launcher's lock keeps for its jobs inside the block."""

    def pause(seconds: float) -> None:
        time.sleep(seconds)
        if signals.count:
            raise Stopped("stopped on request before training: start it again")

    with launcher_lock(pause) as lock:
        run = run_folder.find(request, warn, lock.require_free)
        with run_folder.reserved(run) as folder, lock:  # the lock goes before an empty folder does
            lock.hold(folder)
            yield folder


def _newest_step(folder: str | os.PathLike) -> int:
    """Return the step of the newest good checkpoint in a run's folder, 0 if there is none."""
    found = checkpoint.newest(Path(folder, "checkpoints"), lambda text: None)
    return found[1].step if found else 0


def _time_left(config: Config, begin: float) -> dict[str, str]:
    """Return the option --max-time with the remaining seconds, as it limits all jobs together; {} without a limit."""
    if config.max_time is None:
        return {}
    return {"--max-time": f"{max(config.max_time - (time.monotonic() - begin), 1e-3):.3f}"}


def _without(options: Sequence[str], names: Collection[str]) -> list[str]:
    """Return the options, "--name=value" or "--name value", without those in `names`."""
    remaining, words = [], iter(options)
    for word in words:
        name, equals, _ = word.partition("=")
        if name not in names:  # true for values, as none begins with "--"
            remaining.append(word)
        elif not equals:
            next(words)
    return remaining


def _number(word: str, kind: Type, name: str) -> Any:
    """Return the number in a word; raise ConfigError, which names the option, if it is not valid."""
    value = kind.validate(kind.parse(word))
    if value is None:
        raise ConfigError(f"{name}: {word!r} is not valid; wanted {kind.wanted}")
    return value


def main() -> int:
    """Launch the training of the command line, and return the exit code."""
    try:
        arguments, options = parse(sys.argv[1:])
        with StopSignals().listening() as signals:
            return launch(arguments, options, signals)
    except DistcnnError as error:
        say(f"distcnn: error: {error}", sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
