"""Kill whole jobs under `distcnn.launch` at random times, and compare their results with an uninterrupted run's.

    python -m tests.programs.restarts [--trials 50] [--ranks 8] [--seed 0] [--table FILE]      # with either MPI

In each trial one or two of `EVENTS` happen. A launcher that has ended, because it was asked to or was killed, is
started again with `--resume auto`. Counted as lost are steps that were trained and then trained again, from an
earlier checkpoint, and seconds beyond those of an uninterrupted run; as tidy, trials that leave no process and no
file in shared memory behind. With `--table`, several calls add up.
"""

import argparse
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import suppress
from pathlib import Path

from tests.helpers import jobs
from tests.programs import FAULTS
from tests.programs.tally import Tally

LAUNCHER = (  # the launcher, but rank 0 records every step that it begins
    "import sys; from distcnn import launch; words = [sys.executable, sys.argv.pop(1), 'log_step@step:0:0']; "
    "launch.train_command = lambda: words; sys.exit(launch.main())"
)
MOST = 2  # events in a trial: after three jobs in a row without a checkpoint the launcher gives up
START = 120  # seconds: Open MPI waits for ever for a rank that was killed within MPI_Init
TRAINING = None  # in place of seconds: wait until the job trains
COLUMNS = "survived", "events", "restarts", "steps lost", "seconds lost", "digests", "records", "tidy"


def options(steps):
    """Return the options of a training."""
    fixed = "--epochs 1000 --checkpoint-every 7 --out run --progress none"
    return [*fixed.split(), "--max-steps", steps]


class Launched:
    """A launcher in a folder, and all that it has started."""

    def __init__(self, folder, ranks, steps):
        self.folder, self.name, self.shared = Path(folder), uuid.uuid4().hex, set()
        self.ranks_wanted, self.options = ranks, options(steps)
        self.start()

    def start(self, *more):
        """Start the launcher."""
        words = ["-c", LAUNCHER, FAULTS, "-n", self.ranks_wanted, "--start-limit", START]
        words += ["--", *self.options, *more]
        with open(self.folder / "said", "ab") as said:
            self.process = subprocess.Popen(
                [sys.executable, *map(str, words)],
                cwd=self.folder,
                env=jobs.clean_environment({jobs.MARK: self.name}),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def wait(self, seconds):
        """Return the launcher's exit code, or None if it still runs after so many seconds.

        seconds: TRAINING to wait until the job has written another checkpoint, so that it trains
        """
        if seconds == TRAINING:
            before = self.newest()
            jobs.wait_until(lambda: self.newest() > before or self.process.poll() is not None)
            return self.process.returncode
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(max(0.0, seconds))

    def newest(self):
        """Return the name of the newest checkpoint, or an empty string."""
        return max((path.name for path in self.folder.glob("run/checkpoints/step-*.h5")), default="")

    @property
    def others(self):
        """All processes but the launcher."""
        return [pid for pid in jobs.members(self.name) if pid != self.process.pid]

    @property
    def ranks(self):
        """The processes that train."""
        found = []
        for pid in self.others:
            with suppress(OSError):
                environ = Path(f"/proc/{pid}/environ").read_bytes()
                if b"OMPI_COMM_WORLD_RANK=" in environ or b"PMI_RANK=" in environ:
                    found.append(pid)
                    self.shared |= set(re.findall(r"/dev/shm/\S+", Path(f"/proc/{pid}/maps").read_text()))
        return found

    def tidy(self):
        """Return whether processes and files in shared memory disappear, those of a killed launcher after a while."""
        end = time.monotonic() + jobs.LIMIT / 10
        while self.others or any(map(os.path.exists, self.shared)):
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
        return True

    def said(self):
        return (self.folder / "said").read_text(errors="replace")


def kill(*pids):
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def all_ranks(job, chance):
    kill(*job.ranks)


def one_rank(job, chance):
    kill(*chance.sample(job.ranks, min(1, len(job.ranks))))


def the_whole_job(job, chance):
    job.ranks  # noqa: B018  remembers what they share
    kill(*job.others)


def mpirun(job, chance):
    """Kill mpirun's process group."""
    job.ranks  # noqa: B018
    groups = [pid for pid in job.others if os.path.exists(f"/proc/{pid}") and _parent(pid) == job.process.pid]
    for pid in groups:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def the_launcher(job, chance):
    kill(job.process.pid)


def a_request(job, chance):
    """Ask the launcher to stop."""
    job.process.send_signal(chance.choice((signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)))


def _parent(pid):
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


EVENTS = all_ranks, one_rank, the_whole_job, mpirun, the_launcher, a_request


def trial(folder, ranks, steps, delays, events, chance):
    """Let each event happen so many seconds after the one before; return the exit code and the job.

    delays: seconds, or TRAINING, for each event
    """
    job, code = Launched(folder, ranks, steps), None
    todo = list(zip(delays, events, strict=True))
    try:
        while True:
            code = job.wait(todo[0][0] if todo else jobs.LIMIT)
            if code in (75, -signal.SIGKILL):  # asked to stop, or killed
                job.tidy()
                job.start("--resume", "auto")
            elif code is not None or not todo:
                return code, job
            else:
                todo.pop(0)[1](job, chance)
    finally:
        if code is None:
            kill(job.process.pid)
        job.remains = not job.tidy()
        kill(*jobs.members(job.name))
        job.process.wait()


def course(folder):
    """Return how many steps were trained twice; raise ValueError unless the others are all steps once, in order."""
    path, lost = Path(folder, "steps_begun"), 0
    begun = [int(line) for line in path.read_text().splitlines()] if path.exists() else []
    for done, then in itertools.pairwise(begun):
        if then > done + 1:
            raise ValueError(f"step {then} begins after step {done}")
        lost += done + 1 - then if then <= done else 0
    return lost


def summary(code, job):
    """Return digest and records of a run, None for what is missing."""
    last = job.said().rpartition("weights_sha256 ")[2].split()[:1]
    return last if code == 0 else None, records(job.folder)


def records(folder):
    """Return the steps of the lines in metrics.jsonl, or None without the file."""
    path = Path(folder, "run/metrics.jsonl")
    return [json.loads(line)["step"] for line in path.read_text().splitlines()] if path.exists() else None


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--ranks", type=int, default=8)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", type=Path, help="a file that keeps the results of several calls")
    arguments = parser.parse_args()
    chance, bad = random.Random(arguments.seed), 0
    size = arguments.ranks, arguments.steps
    with tempfile.TemporaryDirectory() as folder:
        begin = time.monotonic()
        code, job = trial(folder, *size, [], [], chance)
        seconds, wanted = time.monotonic() - begin, summary(code, job)
        if code != 0:
            sys.exit(f"uninterrupted: exit code {code}\n{job.said()}")
    print(f"uninterrupted: {wanted[0]}, {seconds:.1f} s", flush=True)
    tally = Tally(f"{arguments.ranks} ranks", COLUMNS, arguments.table)
    for _ in range(arguments.trials):
        events = [chance.choice(EVENTS) for _ in range(chance.randint(1, MOST))]
        delays = [chance.uniform(0, seconds) for _ in events]
        words = ", ".join(
            f"{event.__name__} {delay:.1f}" for delay, event in zip(delays, events, strict=True)
        )
        begin = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            code, job = trial(folder, *size, delays, events, chance)
            lost, found = time.monotonic() - begin - seconds, summary(code, job)
            same = [one == other for one, other in zip(found, wanted, strict=True)]
            restarts = len(re.findall(r"; restart \d+ of", job.said()))
            row = code == 0, len(events), restarts, course(folder), lost, *same, not job.remains
            tally.add(f"{arguments.ranks} ranks", words, *row)
            if not all((row[0], *row[-3:])):
                bad += 1
                print(code, found, job.said(), flush=True)
    tally.sums()
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
