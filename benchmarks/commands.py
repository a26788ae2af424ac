"""Whole commands, ours and PyTorch's, as a person would start them: their time, when they are ready, their memory."""

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
FOLDER = Path(tempfile.mkdtemp(prefix="distcnn-bench-"))  # for everything that runs write
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


def mnist():
    """Return MNIST as a dataset, or None: $MNIST is one, else the four files are in $DISTCNN_TEST_DATA/mnist."""
    if os.environ.get("MNIST"):
        return Path(os.environ["MNIST"]).resolve()
    default = Path(distcnn.__file__).parents[2] / "shared" / "data"
    source, out = Path(os.environ.get("DISTCNN_TEST_DATA", default)) / "mnist", FOLDER / "mnist.h5"
    if not source.is_dir():
        print(
            "not measured, for it needs MNIST: `make bench MNIST=mnist.h5`, made by `python -m distcnn.data import`"
        )
        return None
    if not out.exists():
        subprocess.run(
            [sys.executable, "-m", "distcnn.data", "import", source, out], check=True, capture_output=True
        )
    return out


def ours(ranks, *options):
    """Return the command that trains LeNet-5 with distcnn, in a fresh folder."""
    own = Path(sys.executable).with_name("mpirun")
    launcher = [own if own.exists() else "mpirun", "-n", ranks] if ranks > 1 else []
    out = tempfile.mkdtemp(dir=FOLDER) + "/run"
    words = [*launcher, sys.executable, "-m", "distcnn.train", "--progress", "none", "--out", out, *options]
    return [str(word) for word in words]


def theirs(ranks, *options):
    """Return the command that trains LeNet-5 with PyTorch."""
    return [str(word) for word in (sys.executable, HERE / "peer_ddp.py", "--ranks", ranks, *options)]


class Run:
    """A command that has ended: seconds it took, `ready` those until its first step; text on stdout; peak memory.

    memory: bytes of the largest rank at its largest, shared memory not counted; 0 unless `watched`. Raises SystemExit
    if the command fails.
    """

    def __init__(self, words, watched=False, stop_when_ready=False, **environment):
        place = Path(tempfile.mkdtemp(dir=FOLDER))
        ready = place / "ready"
        ready.touch()
        words = [*words, "--ready", str(ready)] if "peer_ddp" in words[1] else words
        begin, self.ready, self.memory = time.monotonic(), None, 0
        with open(place / "out", "w") as out, open(place / "err", "w") as err:
            process = subprocess.Popen(
                words, stdout=out, stderr=err, cwd=place, env=settings() | {FILE: str(ready)} | environment
            )
            while process.poll() is None:
                if self.ready is None and TRAINING in read(ready):
                    self.ready = time.monotonic() - begin
                    if stop_when_ready:
                        process.terminate()
                if watched:
                    self.memory = max([self.memory, *map(private_memory, descendants(process.pid))])
                time.sleep(0.005)
        self.seconds, self.text = time.monotonic() - begin, (place / "out").read_text()
        if process.returncode and not stop_when_ready:
            raise SystemExit(f"{' '.join(words)} failed:\n{(place / 'err').read_text()[-2000:]}")


def settings():
    """Return the environment of a command, as a person has it: Python keeps what it has compiled of its modules.

    Threads are the command's own affair, and MPI may start more ranks than cores.
    """
    others = "PYTHONDONTWRITEBYTECODE", *(name for name in os.environ if name.endswith("_NUM_THREADS"))
    environment = {name: x for name, x in os.environ.items() if name not in others}
    return environment | {"PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}


def private_memory(process):
    """Return the bytes of a process that are in memory and not shared with others by its own will (Linux)."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    return sum(int(size) for size in re.findall(r"Rss(?:Anon|File):\s*(\d+) kB", status)) * 1024


def descendants(process):
    """Return the numbers of all processes that a process has started."""
    try:
        tasks = Path(f"/proc/{process}/task").iterdir()
        children = [int(word) for task in tasks for word in (task / "children").read_text().split()]
    except OSError:
        return []
    return children + [each for child in children for each in descendants(child)]
