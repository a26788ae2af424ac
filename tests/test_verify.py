"""distcnn.verify: the last steps of a run, trained again, give its bits, and other bits are found and named."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from distcnn.run import checkpoint
from tests.helpers.digests import digest


def train(call):
    """Train for 30 steps; return the digest. Two commands, as the checkpoint of step 25 is then written for certain."""
    command = "distcnn.train", "--out", "a", "--progress", "none"
    digest(call(*command, "--checkpoint-every", 5, "--validation-split", 0.1, "--max-steps", 25))
    return digest(call(*command, "--resume", "auto", "--max-steps", 30))


@pytest.fixture
def verify(here):
    """Train, and return a function that calls the command."""
    train(here)
    return partial(here, "distcnn.verify")


@pytest.mark.mpi(ranks=(1, 3))
def test_the_same_bits(call):
    """Kernels that these processes have loaded are not compiled anew: see test_kernel_cache for that."""
    trained = train(call)
    done = call("distcnn.verify", "a")
    assert done.returncode == 0, done.stderr
    assert "verified: steps 26 to 30" in done.stdout  # epochs end after 11 and 22
    assert digest(done) == trained


def test_a_single_checkpoint_is_verified_from_the_beginning(verify):
    for path in sorted(Path("a/checkpoints").glob("step-*.h5"))[:-1]:
        path.unlink()
    assert "verified: steps 1 to 30" in verify("a").stdout


def spoil(state):
    weights = state.parameters.copy()
    weights[200] = np.nextafter(weights[200], 1, dtype=np.float32)
    return replace(state, parameters=weights, digest="")


CHANGES = {
    "weight": (30, spoil, "parameters/"),
    "earlier weight": (25, spoil, "parameters/"),
    "digest": (30, lambda state: replace(state, digest="0" * 64), "digest"),
    "sums": (30, lambda state: replace(state, epoch_sums=(0, 0, 0)), "epoch_sums is"),
}


@pytest.mark.parametrize(("step", "change", "words"), CHANGES.values(), ids=CHANGES)
def test_other_bits_are_named(verify, step, change, words):
    path = Path("a/checkpoints") / checkpoint.name(step)
    checkpoint.save(path, change(checkpoint.load(path)))
    done = verify("a")
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("DIFFERENT: steps 26 to 30")
    assert words in done.stdout


@pytest.mark.parametrize("words", [["nothing"], ["a", "--data", "none.h5"], []])
def test_mistakes(verify, words):
    done = verify(*words)
    assert done.returncode == 2
    assert done.stderr.count("distcnn: error") == 1
