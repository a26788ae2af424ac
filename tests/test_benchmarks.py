"""The benchmarks run, without peers too, and their results become tables of the documentation.

No test asks how fast anything is.
"""

import json
from pathlib import Path

from tests.helpers import jobs

FOLDER = Path(jobs.ROOT, "benchmarks")
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("peer_"))


def script(run, text, *words):
    """Run a script of benchmarks/; return what it prints."""
    done = run("python", "-c", text, *words, env={"PYTHONPATH": f"{jobs.ROOT}:{FOLDER}"})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_script_finds_what_it_imports(run):
    script(run, f"import {', '.join(SCRIPTS)}")


def test_steps_are_measured_without_peers(run):
    text = "import peers, steps; peers.missing = lambda module: 'not installed'; steps.main()"
    printed = script(run, text, "--quick", "--only", "LeNet-5 step, batch 64")
    assert "LeNet-5 step, batch 64 " in printed
    assert "of peak" in printed
    assert "PyTorch not installed  JAX not installed" in printed


def test_reading_is_measured(run):
    printed = script(run, "import stream; stream.main()", "--quick", "--only", "reading")
    assert "reading, contiguous, an epoch" in printed
    assert "pread" in printed
    amplification = [line.split()[-1] for line in printed.splitlines() if "bytes of" in line]
    assert len(amplification) == 4
    assert all(1 <= float(each) < 1.02 for each in amplification)


IN_FLOAT32 = """
import exact, numpy as np
from distcnn import Net, layers
from distcnn.numerics.fixed_point import QUANTUM
net = Net([layers.Conv2D(3, 3), layers.Flatten(), layers.Dense(3)], (1, 5, 5))
for (kernel, given), (like, instead) in zip(*exact.adding_calls(net), strict=True):
    kernel(*given), like(*instead)
    for sums, floats in zip(given, instead, strict=True):
        if floats is not sums:
            print(sums.any() and np.allclose(sums * QUANTUM, floats, rtol=1e-4, atol=1e-4))
for kernel, given in exact.updating_calls(5):
    kernel(*given)
"""


def test_kernels_in_float32_add_the_same(run):
    """What exact.py compiles by itself keeps up with the kernels' own signatures."""
    assert set(script(run, IN_FLOAT32).split()) == {"True"}


def test_results_become_a_table(run):
    row = {"what": "LeNet-5 step, batch 64", "unit": "s", "ours": 0.0015, "best": "PyTorch"}
    row |= {"ratio": [4.44, 4.21, 4.52], "share": [0.853, 0.8, 0.9]}
    row["peers"] = {"PyTorch": 0.0066, "JAX": "not installed"}
    cold = {"what": "first step, cold", "unit": "command", "ours": 4.96, "peers": {}}
    about = {"machine": {"processor": "P", "cores": 2, "instructions": "AVX2", "versions": {"torch": "2"}}}
    about |= {"commit": "abc", "date": "2026-01-02 03:04 UTC"}
    records = {"steps": about | {"rows": [row]}, "startup": about | {"rows": [cold]}}
    parts = {"notes": 0.001, "a checkpoint, elapsed": 0.5, "all together": 0.012}
    records["exact"] = about | {"rows": [row | {"ratio": [0.98, 0.97, 0.99]}]}
    records["safety"] = about | {"rows": [{"what": what, "part": part} for what, part in parts.items()]}
    text = "import draw, json, sys; print(draw.markdown(json.loads(sys.argv[1])))"
    lines = script(run, text, json.dumps(records)).splitlines()
    assert "| LeNet-5 step, batch 64 | 1.50 ms | 6.60 ms, PyTorch | **4.4x** [4.2 4.5] | 85% |" in lines
    assert "| first step, cold | 4.96 s |  |  |  |" in lines
    assert "P, 2 cores, AVX2; PyTorch 2; commit abc, 2026-01-02." in lines
    costs = "Exact sums make a step of LeNet-5 2.0% longer than float32 sums. "
    costs += (
        "The guard, the watchdog, a comparison of replicas and a checkpoint in 100 steps take 1.2% of them."
    )
    assert costs in lines
