"""One configuration gives one set of weights, bit for bit, however it is computed."""

import json
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from distcnn.kernels.float_mode import set_float_mode
from distcnn.kernels.jit import Kernel, NotCached, cached_only
from distcnn.lanes import LANES
from distcnn.network.plan import Block
from distcnn.numerics import NUMERICS
from tests.helpers import jobs
from tests.helpers.digests import GOLDEN, MLP, STEPS, TRAIN, digest, train_here
from tests.helpers.processors import AVX2, on_x86


@pytest.mark.check
def test_the_golden_digest_of_these_numerics():
    assert train_here() == GOLDEN[NUMERICS]


def test_a_plain_process(run, tmp_path):
    assert digest(run(*TRAIN, "--max-steps", STEPS, cwd=tmp_path)) == GOLDEN[NUMERICS]


@pytest.mark.mpi(ranks=(1, 2, 3, 8))
def test_any_number_of_ranks(call):
    assert digest(call("distcnn.train", "--max-steps", STEPS)) == GOLDEN[NUMERICS]


def test_five_processes_that_mpirun_starts(mpirun, tmp_path):
    assert digest(mpirun(5, *TRAIN, "--max-steps", STEPS, cwd=tmp_path)) == GOLDEN[NUMERICS]


@on_x86
@pytest.mark.slow
def test_code_for_avx2(run, tmp_path):
    """The same on a processor without AVX-512: Haswell was the first with AVX2 and FMA."""
    question = "from distcnn.lanes.cpu import vector_registers; print(vector_registers())"
    assert run("python", "-c", question, env=AVX2).stdout == "8\n"
    done = run(*TRAIN, "--max-steps", STEPS, cwd=tmp_path, env=AVX2)
    assert digest(done) == GOLDEN[NUMERICS]


@pytest.mark.slow
def test_the_readme_shows_the_digest_of_a_first_run(run, tmp_path):
    """README.md shows what `make train` prints, on any machine."""
    promised = re.search(r"weights_sha256 ([0-9a-f]{64})", Path(jobs.ROOT, "README.md").read_text())
    assert digest(run("python", "-m", "distcnn.train", cwd=tmp_path)) == promised[1]


def test_stopped_and_resumed_on_other_numbers_of_ranks(run, mpirun, tmp_path):
    """Steps 7 and 17 lie in the middle of epochs of 12 steps."""
    digest(mpirun(3, *TRAIN, "--max-steps", 7, cwd=tmp_path))
    digest(mpirun(2, *TRAIN, "--max-steps", 17, "--resume", "auto", cwd=tmp_path))
    done = run(*TRAIN, "--max-steps", STEPS, "--resume", "auto", cwd=tmp_path)
    assert digest(done) == GOLDEN[NUMERICS]
    records = [json.loads(line) for line in Path(tmp_path, "run/metrics.jsonl").read_text().splitlines()]
    assert [(record["epoch"], record["step"]) for record in records] == [(1, 7), (1, 12), (2, 17), (2, 20)]
    assert records[-1]["weights_sha256"] == GOLDEN[NUMERICS]
    assert records[0]["ranks"] == 3


def test_the_epoch_s_sums_survive_a_stop(here):
    """The mean loss of an epoch is over all of it, whichever call trained which steps."""
    for out, stops in (("a", [12]), ("b", [5, 12])):
        for stop in stops:
            digest(here("distcnn.train", "--out", out, "--max-steps", stop, "--resume", "auto"))
    lines = [Path(out, "metrics.jsonl").read_text().splitlines()[-1] for out in "ab"]
    whole, parts = map(json.loads, lines)
    assert whole["step"] == parts["step"] == 12
    for key in ("train_loss", "train_accuracy", "test_loss", "test_accuracy", "weights_sha256"):
        assert whole[key] == parts[key]


def test_what_lies_in_padded_lanes_changes_nothing(monkeypatch):
    """A batch of 100 leaves 12 lanes of its last block empty; they are filled with other images and labels."""
    plain = train_here(steps=15, argv=["--batch-size", "100"])
    of = Block.of.__func__

    def filled(cls, images, labels, samples):
        block = of(cls, images, labels, samples)
        empty = np.arange(LANES) >= len(samples)
        block.index[empty] = len(images) - 1 - np.arange(LANES)[empty]
        block.label[empty] = 1e9
        return block

    monkeypatch.setattr(Block, "of", classmethod(filled))
    assert train_here(steps=15, argv=["--batch-size", "100"]) == plain


@pytest.mark.parametrize("argv", [["--batch-size", "64"], ["--seed", "1"], ["--normalize", "none"]])
def test_other_settings_give_other_weights(argv):
    assert train_here(steps=2, argv=argv) != train_here(steps=2)


@pytest.mark.once
def test_kernels_are_compiled_once_for_eight_ranks(mpirun, tmp_path):
    env = {"XDG_CACHE_HOME": tmp_path / "cache", "NUMBA_DEBUG_CACHE": 1}
    done = mpirun(8, *TRAIN, "--max-steps", 2, cwd=tmp_path, env=env)
    digest(done)
    assert "damaged" not in done.stderr
    saved = [line for line in done.stdout.splitlines() if "data saved" in line]
    assert len(saved) == len(set(saved)) == len(list(tmp_path.rglob("*.nbc")))
    assert done.stdout.count("data loaded") >= 7 * len(saved)  # lines of several ranks may run together


def test_kernels_are_found_or_missed_in_the_cache_without_compiling_them():
    train_here(steps=1)  # compiles
    with cached_only():
        assert Kernel(set_float_mode.function, "i8 i8:1", "set_float_mode").code
        with pytest.raises(NotCached, match="another_name"):
            Kernel(set_float_mode.function, "i8 i8:1", "another_name").code  # noqa: B018


@pytest.mark.slow
def test_jobs_that_start_at_once_share_an_empty_cache(run, tmp_path):
    def job(k):
        out = tmp_path / str(k)
        out.mkdir()
        return digest(run(*TRAIN, *MLP, "--max-steps", 3, cwd=out, env=env))

    env = {"XDG_CACHE_HOME": tmp_path / "cache"}
    with ThreadPoolExecutor() as pool:
        digests = set(pool.map(job, range(3)))
    assert digests == {train_here(3, MLP)}
    assert not list(tmp_path.rglob("*.tmp*"))


@pytest.mark.skipif(os.getuid() == 0 and not shutil.which("setpriv"), reason="root writes everywhere")
@pytest.mark.slow
def test_without_any_folder_for_the_cache(run, tmp_path):
    env = {"XDG_CACHE_HOME": "/proc/none", "TMPDIR": "/proc/none", "HOME": "/proc/none"}
    done = run(*TRAIN, *MLP, "--max-steps", 1, cwd=tmp_path, env=env)
    assert digest(done) == train_here(1, MLP)
