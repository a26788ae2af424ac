"""distcnn.verify --self: this installation gives the bits that its version promises, and other bits are told."""

import re
import time

import pytest

from distcnn import layers
from distcnn.lanes import LANES
from distcnn.models import MODELS
from distcnn.numerics import NUMERICS
from distcnn.training.promise import PROMISED, TRAININGS, summary
from tests.helpers import jobs
from tests.programs import environments
from tests.programs import promise as program
from tests.programs.ways import Way

VERIFY = "python", "-m", "distcnn.verify", "--self"
SUMMARY = (
    "31eae3b2bcb8c6c8def8ed1946e5afe59d7b8de72ed89f01fdf221aab070c747"  # of numerics 2, as README shows it
)
NAMES = [config.model for config, _ in TRAININGS]
# A version whose promise is another one, and which has only the first network.
BROKEN = f"""
import runpy
from distcnn.training import promise
promise.TRAININGS = promise.TRAININGS[:1]
promise.PROMISED[{NUMERICS}] = {{"lenet5": "0" * 64}}
runpy.run_module("distcnn.verify", run_name="__main__")
"""


@pytest.mark.parametrize("ranks", [0, 1, 3, 8])
@pytest.mark.slow
def test_the_promise_is_kept(run, request, ranks):
    mpirun = request.getfixturevalue("mpirun") if ranks else None
    done = mpirun(ranks, *VERIFY) if ranks else run(*VERIFY)
    assert done.returncode == 0, jobs.show(done)
    *lines, last = done.stdout.splitlines()
    found = dict(line.split() for line in lines)
    assert list(found) == [*NAMES, "all"]
    assert found.pop("all") == SUMMARY == summary(found)
    assert found == PROMISED[NUMERICS]
    words = f"numerics {NUMERICS}, {ranks or 1} ranks?, .*: the bits are those that this version promises"
    assert re.fullmatch(words, last)


def test_other_bits_are_told(run):
    done = run("python", "-c", BROKEN, "--self")
    assert done.returncode == 1, jobs.show(done)
    promised = summary({"lenet5": "0" * 64})
    words = f"DIFFERENT: this version promises {promised}, and other bits of lenet5; "
    assert words in done.stdout.splitlines()[-1]
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


# ---- the table of make promise: an emulated way may be too slow, but never differ ----

FINISHED = [f"{name:<12} {value}" for name, value in PROMISED[NUMERICS].items()][:2]
DIFFERENT = f"{FINISHED[0]:.13}{'0' * 64}"
LAST = f"numerics {NUMERICS}, 1 rank, NEON: the bits are ..."
SLOW = "while :; do :; done"


def emulated(tmp_path, lines, end="exit 0", **more):
    """Return a Way whose Python prints some lines about the training, and then does what `end` says."""
    python, script = tmp_path / "python", ['[ "$1" = -c ] && exit', *(f"echo '{line}'" for line in lines)]
    python.write_text("\n".join(["#!/bin/sh", *script, end]))
    python.chmod(0o755)
    return Way("AArch64", lambda: str(python), emulated=True, **more)


def row(way, capsys, seconds=60, deadline=60):
    """Return the verdict on a way, and the end of its row."""
    verdict = program.attempt(way, program.Limits(seconds, time.monotonic() + deadline))
    return verdict, capsys.readouterr().out.partition(" s  ")[2].strip()


def test_an_emulated_way_that_finishes(tmp_path, capsys):
    lines = [f"{name} {value}" for name, value in PROMISED[NUMERICS].items()]
    assert row(emulated(tmp_path, [*lines, LAST], needs="NEON"), capsys)[0] == program.SAME
    different = [*lines[:-1], f"every-layer {'0' * 64}", LAST]
    assert row(emulated(tmp_path, different, "exit 1", needs="NEON"), capsys)[0] == program.OTHER
    assert row(emulated(tmp_path, [], "exit 1"), capsys)[0] == program.FAILED


def test_an_emulated_way_is_given_up_after_so_much_processor_time(tmp_path, capsys):
    verdict, about = row(emulated(tmp_path, FINISHED, SLOW), capsys, seconds=1)
    assert verdict == program.SKIPPED
    assert about == "not done within 1 s of processor time; the same bits: lenet5, lenet5-1998"
    verdict, about = row(emulated(tmp_path, [DIFFERENT], SLOW), capsys, seconds=1)
    assert (verdict, about) == (program.OTHER, "of lenet5; not done within 1 s of processor time")


def test_an_emulated_way_is_given_up_at_the_deadline(tmp_path, capsys):
    """Also one whose turn comes after it."""
    verdict, about = row(emulated(tmp_path, FINISHED, "exec sleep 60"), capsys, deadline=1)
    assert verdict == program.SKIPPED
    assert about.endswith(" s; the same bits: lenet5, lenet5-1998")
    verdict, about = row(emulated(tmp_path, FINISHED, tests="tests/test_float_mode.py"), capsys, deadline=0)
    assert (verdict, about) == (program.SKIPPED, "not done within 0 s")


@pytest.mark.parametrize(("name", "code"), [("AArch64", 0), ("no such way", 1)])
def test_ways_that_are_all_given_up_are_no_failure(tmp_path, capsys, monkeypatch, name, code):
    monkeypatch.setattr(program, "ways", lambda venv: ([emulated(tmp_path, FINISHED)], []))
    assert program.main(["--only", name, "--deadline", "0"]) == code
    assert capsys.readouterr().out.endswith(f"0 passed, 0 failed, {1 - code} skipped\n")


def test_what_is_not_emulated_has_to_finish(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(program, "SECONDS", 1)
    way = emulated(tmp_path, FINISHED, "exec sleep 60")._replace(emulated=False)
    assert row(way, capsys)[0] == program.FAILED
