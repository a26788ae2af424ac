"""Kill ranks at chosen places and at random times, and check that the run ends with the bits of one without kills.

    python -m tests.programs.chaos [--random 100] [--ranks 8] [--seed 0] [--table FILE]    # needs Open MPI 5

It prints a table: of how many trials the job survived, which steps and how many seconds were lost, and whether the
weights and the lines of metrics.jsonl are those of a run without kills; with `--table`, several calls add up.
Kills of whole jobs: see restarts.py.

The tests run `COMBINED`, the same places in a few jobs of more ranks, as starting ranks takes longer than training.
"""

import argparse
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from distcnn.system import job_status
from tests.helpers import jobs
from tests.programs import FAULTS
from tests.programs.tally import Tally

RECOVERED = {  # name: faults, of which all ranks but the killed ones recover
    "a step": "death@step:1:5",
    "rank 0, a step": "death@step:0:5",
    "within a sum": "soon@allreduce:2:7",
    "rank 0, within a sum": "soon@allreduce:0:7",
    "two at once": "death@step:0:7,death@step:2:7",
    "three, one after another": "death@step:0:3,death@step:1:9,death@step:2:15",
    "the first step": "death@step:0:0",
    "an evaluation": "death@evaluation:2",
    "rank 0, an evaluation": "death@evaluation:0",
    "rank 0, before a record": "death@record:0",
    "rank 0, while it saves": "death@save:0",
    "rank 0, before it renames": "death@rename:0",
    "rank 0, while it renames": "soon@rename:0",
    "a comparison": "soon@compare:1:0",
    "at the end": "death@agree:2",
    "rank 0, at the end": "death@agree:0",
    "two while rank 0 is busy": "busy@finish:0,later@finish:2,much_later@finish:1",
    "when all leave": "soon@leave:2",
    "two when all leave": "death@leave:1,soon@leave:3",
    "rank 0, before training": "death@prepare:0",
    "while data are read": "soon@data:0",
    "two before training": "death@prepare:3,soon@data:1",
    "rank 0, before it makes the folder": "death@create:0",
    "rank 0, while it makes the folder": "soon@create:0",
    "rank 0, while it compiles": "death@compile:0",
    "before and in training": "death@prepare:1,death@compile:3,death@step:0:5",
    "all but one": "death@step:0:3,death@step:1:3,death@step:2:3",
    "a second in recovery": "death@step:1:5,death@recovery:2",
    "rank 0 in recovery": "death@step:1:5,death@recovery:0",
    "a second before revoking": "death@step:1:5,death@agree:0",
    "a second while they revoke": "death@step:1:5,soon@agree:2",
    "a second before shrinking": "death@step:1:5,death@shrink:0",
    "a second within shrinking": "death@step:1:5,soon@shrink:2",
    "a second before agreeing": "death@step:1:5,death@sync:0",
    "a second within agreeing": "death@step:1:5,soon@sync:2",
    "a second after agreeing": "death@step:1:5,death@repartition:2",
    "an exception": "exception@step:1:5",
    "an exception on rank 0": "exception@allreduce:0:5",
}
COMBINED = {  # name: (ranks, faults), in which the next rank takes the part of rank 0 when that has died
    "steps and sums": (
        8,
        "death@step:0:0,death@step:2:2,soon@allreduce:3:5,soon@allreduce:1:8,"
        "death@step:4:11,death@step:5:11,death@step:6:11",  # all but one at once
    ),
    "evaluating, saving and comparing, then rank 0 at the end": (
        8,
        "soon@compare:6:0,death@evaluation:4,death@record:0,death@save:1:12,death@rename:2,soon@rename:3,"
        "death@agree:5:20",
    ),
    "before training": (
        8,
        "death@prepare:0,soon@data:1,death@prepare:3,death@create:2,soon@create:4,death@compile:5,death@step:6:5",
    ),
    "in recovery, and before revoking": (
        8,
        "death@step:1:3,death@recovery:2:3,death@step:3:8,death@recovery:0:8,death@step:4:15,death@agree:5:15",
    ),
    "while they revoke and shrink": (
        8,
        "death@step:1:3,soon@agree:2:3,death@step:3:8,death@shrink:0:8,death@step:4:15,soon@shrink:5:15",
    ),
    "before, within and after agreeing": (
        8,
        "death@step:1:3,death@sync:0:3,death@step:3:8,soon@sync:2:8,death@step:4:15,death@repartition:5:15",
    ),
    "two while rank 0 is busy, two when all leave": (
        6,
        "busy@finish:0,later@finish:2,much_later@finish:1,death@leave:3,soon@leave:5",
    ),
    "exceptions, then a rank at the end": (4, "exception@step:1:3,exception@allreduce:0:8,death@agree:2:20"),
}
BEFORE = re.compile(r"ranks? ([\d, ]+) of \d+ died before training")
MESSAGE = re.compile(
    r"ranks? ([\d, ]+) of \d+ died in step (\d+); \d+ of \d+ continue with step (\d+) after (\d+) ms"
)
COLUMNS = "survived", "failed", "steps lost", "seconds lost", "digests", "records"


class Result(NamedTuple):
    """How one trial ended."""

    survived: bool
    failed: int
    steps_lost: int
    seconds_lost: float
    digest: str | None
    records: list[int]
    output: str = ""


def train(faults, ranks, steps, folder, disturb=None, timeout=jobs.LIMIT):
    """Run a training with faults planted in a folder, let `disturb(pids by rank)` kill ranks, and return the Result."""
    status = Path(folder, "job_status")
    status.touch()
    words = ["python", FAULTS, faults] if faults else ["python", "-m", "distcnn.train"]
    words += ["--out", "run", "--progress", "none", "--max-steps", steps, "--checkpoint-every", 7]
    options = {"cwd": folder, "env": {job_status.FILE: status}, "timeout": timeout}
    if disturb:
        options["meanwhile"] = lambda name: _when_training(status, name, disturb)
    try:
        return _result(jobs.survivable(ranks, *words, **options), folder)
    except AssertionError as error:  # it hung
        return Result(False, 0, 0, 0.0, None, [], str(error))


def _result(done, folder):
    deaths = MESSAGE.findall(done.stderr)
    last = done.stdout.splitlines()[-1:] or [""]
    lines = Path(folder, "run/metrics.jsonl")
    records = [json.loads(line)["step"] for line in lines.read_text().splitlines()] if lines.exists() else []
    failed = [ranks for ranks, *_ in deaths] + BEFORE.findall(done.stderr)
    return Result(
        done.returncode == 0,
        sum(len(ranks.split(",")) for ranks in failed),
        sum(max(0, int(step) - int(next_step)) for _, step, next_step, _ in deaths),
        sum(int(milliseconds) for *_, milliseconds in deaths) / 1e3,
        last[0].removeprefix("weights_sha256 ") if "weights_sha256" in last[0] else None,
        records,
        jobs.show(done),
    )


def _when_training(status, name, disturb):
    """Wait until training has begun, then call `disturb` with the job's processes by rank."""
    reached = job_status.TRAINING, job_status.EXIT
    jobs.wait_until(lambda: any(each in status.read_text() for each in reached))
    disturb(_ranks(name))


def _ranks(name):
    """Return the processes of a job by rank."""
    found = {}
    for pid in jobs.members(name):
        try:
            environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        for word in environ:
            if word.startswith(b"OMPI_COMM_WORLD_RANK="):
                found[int(word.split(b"=")[1])] = pid
    return found


def random_kills(chance, ranks, seconds):
    """Return a function that kills 1 to 3 of the ranks within so many seconds, and a description of it."""
    victims = chance.sample(range(ranks), chance.randint(1, min(3, ranks - 1)))
    delays = sorted(chance.uniform(0, seconds) for _ in victims)

    def disturb(pids):
        begin = time.monotonic()
        for rank, delay in zip(victims, delays, strict=True):
            time.sleep(max(0.0, begin + delay - time.monotonic()))
            try:
                os.kill(pids[rank], signal.SIGKILL)
            except (ProcessLookupError, KeyError):
                continue

    return disturb, " ".join(f"{rank}@{delay:.2f}" for rank, delay in zip(victims, delays, strict=True))


class Trials:
    """Trials that are compared with a run without kills."""

    def __init__(self, group, ranks, steps, tally):
        self.group, self.size, self.tally, self.bad = group, (ranks, steps), tally, 0
        with tempfile.TemporaryDirectory() as folder:
            begun = []
            self.wanted = train(None, ranks, steps, folder, lambda _: begun.append(time.monotonic()))
            self.seconds = time.monotonic() - begun[0]
        print(f"{group}, without kills: {self.wanted.digest}, {self.seconds:.1f} s", flush=True)

    def injected(self, name, faults):
        """Try planted faults."""
        self._count(name, self._train(faults), len(faults.split(",")))

    def random(self, chance):
        """Kill ranks at random times; repeat a trial in which all kills came after the end."""
        while True:
            disturb, words = random_kills(chance, self.size[0], self.seconds)
            result = self._train(None, disturb)
            if result.failed or not result.survived:
                return self._count(words, result, len(words.split()))

    def _train(self, *what):
        with tempfile.TemporaryDirectory() as folder:
            faults, disturb = [*what, None][:2]
            return train(faults, *self.size, folder, disturb)

    def _count(self, name, result, most):
        """Add a result to the table; most: how many were to die."""
        same = result.digest == self.wanted.digest, result.records == self.wanted.records
        self.tally.add(
            self.group, name, result.survived, result.failed, result.steps_lost, result.seconds_lost, *same
        )
        if not (result.survived and all(same) and result.failed <= most):
            self.bad += 1
            print(result.output, result.records, flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--random", type=int, default=100, help="trials with random kills [100]")
    parser.add_argument("--ranks", type=int, default=8)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-injected", action="store_true")
    parser.add_argument("--table", help="a file that keeps the results of several calls")
    arguments = parser.parse_args()
    tally, trials = Tally("killed", COLUMNS, arguments.table), []
    if not arguments.no_injected:
        trials.append(Trials("injected, 4 ranks", 4, 20, tally))
        for name, faults in RECOVERED.items():
            trials[-1].injected(name, faults)
    if arguments.random:
        trials.append(Trials(f"random, {arguments.ranks} ranks", arguments.ranks, arguments.steps, tally))
        chance = random.Random(arguments.seed)
        for _ in range(arguments.random):
            trials[-1].random(chance)
    tally.sums()
    return int(any(each.bad for each in trials))


if __name__ == "__main__":
    sys.exit(main())
