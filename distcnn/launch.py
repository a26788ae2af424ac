"""Train until it is done, whatever dies on the way: `python -m distcnn.launch -n 8 -- OPTIONS of distcnn.train`.

A job that ended before it was done is started again from its newest good checkpoint, which gives the same bits.
Whether it was done is what the job itself has told, see `outcome`. MPI is not imported here.
"""

import fcntl
import os
import shlex
import signal
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from distcnn.config import settings
from distcnn.config.parser import Parser
from distcnn.config.types import Real, Whole
from distcnn.errors import ConfigError, DistcnnError, Stopped
from distcnn.run import checkpoint, run_folder
from distcnn.system.job_status import BEGUN, STARTED, TRAINING, exit_code, told
from distcnn.system.mpirun import Job

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
ATTEMPTS = 3  # in a row without a newer checkpoint, then we give up
PAUSE = 0.05  # seconds between two looks at the job
LAST_WORDS = 10  # seconds that mpirun has to end after its ranks have
TRAIN = [sys.executable, "-m", "distcnn.train"]


@dataclass
class Asked:
    """How often we were asked to stop, and whether by a signal that wants us gone."""

    times: int = 0
    urgent: int = 0

    def note(self, number, frame):
        self.times += 1
        self.urgent += number not in (signal.SIGUSR1, signal.SIGUSR2)

    @contextmanager
    def listening(self):
        """Take note of signals inside the block."""
        unwanted = [signal.SIGHUP] * (signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)  # as under nohup
        previous = {each: signal.signal(each, self.note) for each in SIGNALS if each not in unwanted}
        try:
            yield self
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def parse(argv):
    """Return our own options, and those of training behind the `--`."""
    words, options = (argv[: argv.index("--")], argv[argv.index("--") + 1 :]) if "--" in argv else (argv, [])
    parser = Parser(
        "python -m distcnn.launch", usage="%(prog)s -n RANKS [options] -- [options of distcnn.train]"
    )
    parser.add_argument("-n", dest="ranks", metavar="N", required=True, help="the number of ranks")
    parser.add_argument("--max-restarts", metavar="R", default="100", help="give up after so many [100]")
    parser.add_argument(
        "--start-limit", metavar="SECONDS", default="300", help="for the ranks to find each other [300]"
    )
    parser.add_argument("--mpirun", metavar="OPTIONS", default="", help='more for it: "--hostfile hosts"')
    found = parser.parse_args(words)
    found.ranks = _number(found.ranks, Whole(1), "-n")
    found.max_restarts = _number(found.max_restarts, Whole(0), "--max-restarts")
    found.start_limit = _number(found.start_limit, Real(0), "--start-limit")
    return found, options


def launch(arguments, options, asked):
    """Run jobs until one is done, and return its exit code; DistcnnError when that seems hopeless."""
    request = settings.parse(options, "python -m distcnn.launch -n N --")
    run = run_folder.find(request, warn)
    begin, begun, stuck = time.monotonic(), request.config.resume in ("never", "auto"), 0
    with run_folder.reserved(run) as folder, _outcome(folder) as outcome:
        for attempt in range(arguments.max_restarts + 1):
            ours = {"--out": str(folder)} | _time_left(request.config, begin)
            ours |= {"--resume": "auto"} if attempt and begun else {}
            words = [*TRAIN, *_without(options, ours), *(word for pair in ours.items() for word in pair)]
            before = _newest(folder)
            code, how = _attempt(arguments, words, outcome, asked)
            if code is not None:
                return code
            begun = begun or BEGUN in told(outcome)
            after = _newest(folder)
            stuck = stuck + 1 if after == before else 0
            where = f"from step {after}" if after else "from the beginning"
            if asked.times:
                raise Stopped(
                    f"stopped as asked, but not after saving ({how}): started again, it goes on {where}"
                )
            if stuck == ATTEMPTS:
                raise DistcnnError(
                    f"gave up: {ATTEMPTS} times in a row the job ended without a newer checkpoint, last {how}; "
                    f"see what it says above; started again with --resume auto, it goes on {where}"
                )
            if attempt < arguments.max_restarts:
                warn(f"the job ended: {how}; restart {attempt + 1} of {arguments.max_restarts}, {where}")
    raise DistcnnError(
        f"gave up after {arguments.max_restarts} restarts, last {how}; "
        f"started again with --resume auto, it goes on {where}"
    )


def _attempt(arguments, words, outcome, asked):
    """Run one job to its end. Return the exit code that it told, or None, and how it ended."""
    outcome.write_bytes(b"")
    job = Job(arguments.ranks, words, outcome, shlex.split(arguments.mpirun))
    try:
        how = _watched(job, arguments.start_limit, outcome, asked)
    finally:
        job.end()
    said = told(outcome)
    code = exit_code(said)
    if code is None and STARTED not in said and job.process.returncode == 2:
        code = 2  # mpirun's own word on a mistake, or that of ranks that found no MPI
    return code, how or f"mpirun ended with exit code {job.process.returncode}"


def _watched(job, start_limit, outcome, asked):
    """Return when the job has ended, or how it is to be ended; hand on what we are asked."""
    begin, handed, over = time.monotonic(), False, None
    while not job.ended:
        time.sleep(PAUSE)
        said = told(outcome)
        now = time.monotonic()
        if STARTED not in said and now - begin > start_limit:
            return f"not all ranks were there after {start_limit:g} s"
        if asked.urgent > 1 or (asked.times and TRAINING not in said):
            return "killed"
        if asked.times and not handed:
            job.ask_to_stop()
            handed = True
        if exit_code(said) is not None:
            over = over or now
            if now - over > LAST_WORDS:
                return "mpirun did not end"
    return None


@contextmanager
def _outcome(folder):
    """Make the file in which a job tells how far it came, as network file systems remember for long what is missing.

    Its launcher holds a lock on it; what a launcher that was killed has left is removed.
    """
    for left in folder.glob(".launch-*"):
        with suppress(OSError), _locked(left):
            left.unlink()
    path = Path(folder, f".launch-{os.getpid()}").resolve()
    with ExitStack() as lock:
        path.write_bytes(b"")
        with suppress(OSError):  # a file system without locks
            lock.enter_context(_locked(path))
        try:
            yield path
        finally:
            with suppress(OSError):
                path.unlink()


@contextmanager
def _locked(path):
    """Hold the lock on a file; OSError if another process does."""
    with open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def _newest(folder):
    """Return the step of the newest good checkpoint, 0 if there is none."""
    found = checkpoint.newest(Path(folder, "checkpoints"), lambda text: None)
    return found[1].step if found else 0


def _time_left(settings, begin):
    """Return the option with what is left of --max-time, which holds for all jobs together."""
    if settings.max_time is None:
        return {}
    return {"--max-time": f"{max(settings.max_time - (time.monotonic() - begin), 1e-3):.3f}"}


def _without(options, names):
    """Return options, "--name=value" or "--name value", without those of these names."""
    kept, words = [], iter(options)
    for word in words:
        name, equals, _ = word.partition("=")
        if name not in names:  # which values cannot be: no value begins with "--"
            kept.append(word)
        elif not equals:
            next(words)
    return kept


def _number(word, domain, option):
    value = domain.validate(domain.parse(word))
    if value is None:
        raise ConfigError(f"{option}: {word!r} is not possible; wanted {domain.wanted}")
    return value


def warn(text):
    """Tell what is not as it should be."""
    print(f"distcnn: warning: {text}", file=sys.stderr, flush=True)


def main():
    """Launch, and return the exit code."""
    try:
        arguments, options = parse(sys.argv[1:])
        with Asked().listening() as asked:
            return launch(arguments, options, asked)
    except DistcnnError as error:
        print(f"distcnn: error: {error}", file=sys.stderr, flush=True)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
