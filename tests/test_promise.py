"""distcnn.verify --self: this installation gives the bits that its version promises, and other bits are told."""

import re

import pytest

from distcnn import layers
from distcnn.lanes import LANES
from distcnn.models import MODELS
from distcnn.numerics import NUMERICS
from distcnn.training.promise import PROMISED, TRAININGS, summary
from tests.helpers import jobs
from tests.programs import environments

VERIFY = "python", "-m", "distcnn.verify", "--self"
NAMES = [config.model for config, _ in TRAININGS]
# A version whose promise is another one, and which has only the first network.
BROKEN = f"""
import runpy
from distcnn.training import promise
promise.TRAININGS = promise.TRAININGS[:1]
promise.PROMISED[{NUMERICS}] = "0" * 64
runpy.run_module("distcnn.verify", run_name="__main__")
"""


@pytest.mark.parametrize("ranks", [0, 1, 3, 8])
@pytest.mark.slow
def test_the_promise_is_kept(run, request, ranks):
    mpirun = request.getfixturevalue("mpirun") if ranks else None
    done = mpirun(ranks, *VERIFY, timeout=300) if ranks else run(*VERIFY, timeout=300)
    assert done.returncode == 0, jobs.show(done)
    *lines, last = done.stdout.splitlines()
    found = dict(line.split() for line in lines)
    assert list(found) == [*NAMES, "all"]
    assert found.pop("all") == PROMISED[NUMERICS] == summary(found)
    words = f"numerics {NUMERICS}, {ranks or 1} ranks?, .*: the bits are those that this version promises"
    assert re.fullmatch(words, last)


def test_other_bits_are_told(run):
    done = run("python", "-c", BROKEN, "--self", timeout=180)
    assert done.returncode == 1, jobs.show(done)
    assert f"DIFFERENT: this version promises {'0' * 64}" in done.stdout.splitlines()[-1]
    assert done.stderr == ""


@pytest.mark.parametrize("words", [["--self", "runs/a"], ["--self", "--data", "a.h5"], []])
def test_a_run_or_oneself(run, words):
    done = run("python", "-m", "distcnn.verify", *words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"distcnn: error: .*--self.*\n", done.stderr)


def test_eight_ranks_have_work():
    assert all(-(-config.batch_size // LANES) >= 8 for config, _ in TRAININGS)


def test_one_network_has_every_layer():
    model = MODELS["every-layer"]
    found = {type(each) for each in model.layers(model.input_shape, model.classes)}
    assert "every-layer" in NAMES
    assert found == {getattr(layers, name) for name in layers.__all__} - {layers.Layer}


def test_each_dependency_has_a_lowest_version_to_test():
    lowest = dict(line.split("==") for line in environments.constraints())
    needed = [re.match(r"[\w-]+", each)[0] for each in environments.project()["dependencies"]]
    assert set(needed) <= set(lowest)
    assert all(re.fullmatch(r"\d+(\.\d+)+", each) for each in lowest.values())


def test_what_has_private_parts_has_an_upper_bound():
    bounds = {re.match(r"[\w-]+", each)[0]: each for each in environments.project()["dependencies"]}
    assert all("<" in bounds[name] for name in ("numba", "llvmlite"))
