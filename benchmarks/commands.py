"""Run whole training commands, of distcnn and of PyTorch, and measure their time, start-up time and memory."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import distcnn
from distcnn.system.job_status import FILE, TRAINING, read

HERE = Path(__file__).resolve().parent
DIGITS = HERE.parent / "datasets" / "digits.h5"
FOLDER = Path(tempfile.mkdtemp(prefix="distcnn-bench-"))  # for all files that commands write
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


def mnist() -> Path | None:
    """Return the path of a dataset of MNIST, or None if there is none.

    It is $MNIST, or else it is made from the four IDX files in $DISTCNN_TEST_DATA/mnist.
    """
    if os.environ.get("MNIST"):
        return Path(os.environ["MNIST"]).resolve()
    default = Path(distcnn.__file__).parents[2] / "shared" / "data"
    source, out = Path(os.environ.get("DISTCNN_TEST_DATA", default)) / "mnist", FOLDER / "mnist.h5"
    if not source.is_dir():
        remedy = "make it by `python -m distcnn.data import`, then `make bench MNIST=mnist.h5`"
        print(f"not measured, because MNIST is missing: {remedy}")
        return None
    if not out.exists():
        words = [sys.executable, "-m", "distcnn.data", "import", source, out]
        subprocess.run(words, check=True, capture_output=True)
    return out


def ours(ranks: int, *options: object) -> list[str]:
    """Return the command that trains LeNet-5 with distcnn, in a new folder."""
    mpirun = Path(sys.executable).with_name("mpirun")  # that of the virtual environment
    launcher = [mpirun if mpirun.exists() else "mpirun", "-n", ranks] if ranks > 1 else []
    out = tempfile.mkdtemp(dir=FOLDER) + "/run"
    words = [*launcher, sys.executable, "-m", "distcnn.train", "--progress", "none", "--out", out, *options]
    return [str(word) for word in words]


def theirs(ranks: int, *options: object) -> list[str]:
    """Return the command that trains LeNet-5 with PyTorch."""
    return [str(word) for word in (sys.executable, HERE / "peer_ddp.py", "--ranks", ranks, *options)]


class Run:
    """A command that was run to its end.

    words: the command line.
    watched: whether to measure its memory.
    stop_when_ready: whether to end the command before its first step.
    environment: further environment variables.

    seconds: the duration of the command.
    ready: the seconds until its first step.
    text: its output on stdout.
    memory: the largest memory in bytes of any of its processes, without shared memory; 0 unless `watched`.

    Raises SystemExit if the command fails.
    """

    def __init__(
        self, words: list[str], watched: bool = False, stop_when_ready: bool = False, **environment: str
    ) -> None:
        place = Path(tempfile.mkdtemp(dir=FOLDER))
        ready = place / "ready"
        ready.touch()
        words = [*words, "--ready", str(ready)] if "peer_" in words[1] else words
        begin, self.ready, self.memory = time.monotonic(), None, 0
        with open(place / "out", "w") as out, open(place / "err", "w") as err:
            variables = settings() | {FILE: str(ready)} | environment
            process = subprocess.Popen(words, stdout=out, stderr=err, cwd=place, env=variables)
            while process.poll() is None:
                if self.ready is None and TRAINING in read(ready):
                    self.ready = time.monotonic() - begin
                    if stop_when_ready:
                        process.terminate()
                if watched:
                    family = process.pid, *descendants(process.pid)
                    self.memory = max(self.memory, *map(private_memory, family))
                time.sleep(0.005)
        self.seconds, self.text = time.monotonic() - begin, (place / "out").read_text()
        if process.returncode and not stop_when_ready:
            raise SystemExit(f"{' '.join(words)} failed:\n{(place / 'err').read_text()[-2000:]}")


def settings() -> dict[str, str]:
    """Return the environment variables of a command.

    They are those of this process, except for three differences: Python caches compiled modules, the command chooses
    its number of threads, and MPI may start more ranks than there are cores.
    """
    others = "PYTHONDONTWRITEBYTECODE", *(name for name in os.environ if name.endswith("_NUM_THREADS"))
    environment = {name: x for name, x in os.environ.items() if name not in others}
    return environment | {"PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}


def private_memory(process: int) -> int:
    """Return the resident memory of a process in bytes, without shared memory (Linux); 0 if it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    return sum(int(size) for size in re.findall(r"Rss(?:Anon|File):\s*(\d+) kB", status)) * 1024


def descendants(process: int) -> list[int]:
    """Return the process ids of all descendants of a process."""
    try:
        tasks = Path(f"/proc/{process}/task").iterdir()
        children = [int(word) for task in tasks for word in (task / "children").read_text().split()]
    except OSError:
        return []
    return children + [each for child in children for each in descendants(child)]
