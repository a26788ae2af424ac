"""The versions of distcnn and of the software and hardware that it uses, for error reports."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from distcnn.numerics import NUMERICS
from distcnn.system.hidden_modules import explain_failed_imports, hidden_install
from distcnn.system.python import python
from distcnn.system.terminal_text import say, warn

VECTORS = ("avx", "fma", "f16c", "sse4", "neon", "sve")  # prefixes of the names of vector instructions
RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")  # launchers' variables with a rank's number
LIBRARY = (
    "import mpi4py; mpi4py.rc.initialize = False; "
    "from mpi4py import MPI; print(MPI.Get_library_version().splitlines()[0].rstrip(chr(0)))"
)
SECONDS = 60  # time limit for loading an MPI library


def version() -> str:
    """Return the line that --version prints."""
    from distcnn import __version__

    return f"distcnn {__version__}, numerics {NUMERICS}"


def answer_version(argv: Sequence[str]) -> None:
    """Print the version and exit if a command line has --version; under mpirun only rank 0 prints.

    Commands call this function before they import NumPy, Numba and MPI, so that it works even if one of them is broken.
    If a file in the working folder hides one of them, the command says so.
    """
    own = list(argv)[: list(argv).index("--")] if "--" in argv else argv
    first = all(os.environ.get(name, "0") == "0" for name in RANKS)
    if "--version" in own:
        if first:
            print(version())
        sys.exit(0)
    explain_failed_imports(first)
    other = hidden_install(Path(__file__).parents[1]) if first else None
    if other:
        warn(f"distcnn is imported from the working folder, which hides the one installed in {other.parent}")


def show_versions() -> None:
    """Print the facts for an error report: versions, processor, MPI library, threads and the folder of the cache.

    For a component that is missing or broken, its exception is printed.
    """
    facts = {name: _outcome(find) for name, find in FACTS.items()}
    for name, text in facts.items():
        say(f"{name:<12} {text}")


def _outcome(find: Callable[[], str]) -> str:
    """Return the result of a function, or a description of its exception."""
    try:
        return find()
    except Exception as error:
        reason = str(error).strip().splitlines()
        return f"missing ({type(error).__name__}{': ' + reason[0] if reason else ''})"


def _module(name: str) -> Callable[[], str]:
    """Return a function that returns the version of a module."""
    return lambda: import_module(name).__version__


def _processor() -> str:
    """Return the processor's name as LLVM knows it, and its vector instructions."""
    binding = import_module("llvmlite.binding")
    features = sorted(name for name, there in binding.get_host_cpu_features().items() if there)
    return f"{binding.get_host_cpu_name()}: {' '.join(x for x in features if x.startswith(VECTORS))}"


def _h5py() -> str:
    """Return the versions of h5py and of its HDF5 library."""
    h5py = import_module("h5py")
    return f"{h5py.__version__}, HDF5 {h5py.version.hdf5_version}"


def _mpi_library() -> str:
    """Return the MPI library's own description, from a separate process, because loading the library may end it."""
    done = subprocess.run([*python(), "-c", LIBRARY], capture_output=True, text=True, timeout=SECONDS)
    if done.returncode or not done.stdout.strip():
        raise RuntimeError((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    return " ".join(done.stdout.split())


def _threads() -> str:
    """Return the number of cores of this process, and the limits of threads of libraries."""
    from distcnn.system import threads

    counts = [f"{name}={os.environ[name]}" for name in threads.THREADS if name in os.environ]
    return ", ".join([f"{threads.cores()} cores", *counts])


def _cache() -> str:
    """Return the folder of compiled kernels and other cached files."""
    from distcnn.system import cache_dir

    return str(cache_dir.folder(""))


FACTS: dict[str, Callable[[], str]] = {
    "distcnn": lambda: version().removeprefix("distcnn "),
    "Python": lambda: f"{platform.python_version()}, {sys.executable}",
    "platform": platform.platform,
    "processor": _processor,
    **{name: _module(name) for name in ("numpy", "numba", "llvmlite")},
    "h5py": _h5py,
    "mpi4py": _module("mpi4py"),
    "MPI library": _mpi_library,
    "threads": _threads,
    "cache": _cache,
}
