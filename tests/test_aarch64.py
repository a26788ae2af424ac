"""On AArch64, emulated by qemu on other machines, training gives the bits that it gives everywhere.

`make test-aarch64` installs an emulated Python and names its folder in DISTCNN_AARCH64; without it tests are skipped.
"""

import os
import platform
from pathlib import Path

import pytest

from distcnn.numerics import NUMERICS
from distcnn.training.promise import PROMISED, TRAININGS, summary
from tests.helpers import jobs

FOLDER = os.environ.get("DISTCNN_AARCH64")
PYTHON = Path(FOLDER or "", "python")
WITHOUT_FOLDER = (
    "DISTCNN_AARCH64 names no folder that tests/programs/aarch64.py has filled: see make test-aarch64"
)
NATIVE = platform.machine() in ("aarch64", "arm64")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(NATIVE, reason="this machine is AArch64: all tests run on it"),
    pytest.mark.skipif(not (FOLDER and PYTHON.exists()), reason=WITHOUT_FOLDER),
]


@pytest.fixture
def emulated(run):
    """Run the emulated Python; kernels that it compiles are kept in its folder."""
    env = {"XDG_CACHE_HOME": Path(FOLDER or "", "cache")}
    return lambda *words: run(PYTHON, *words, cwd=jobs.ROOT, env=env, timeout=1800)


def test_it_is_another_processor(emulated):
    question = "import platform; from distcnn.lanes.cpu import instructions; print(platform.machine(), instructions())"
    assert emulated("-c", question).stdout == "aarch64 NEON\n"


def test_the_promised_bits(emulated):
    """LeNet-5, that of 1998, a residual net, a fully connected one, and one with every kind of layer."""
    done = emulated("-m", "distcnn.verify", "--self")
    assert done.returncode == 0, jobs.show(done)
    found = dict(line.split() for line in done.stdout.splitlines()[:-1])
    assert list(found) == [*(config.model for config, _ in TRAININGS), "all"]
    assert found.pop("all") == summary(PROMISED[NUMERICS])
    assert found == PROMISED[NUMERICS]


def test_the_floating_point_mode(emulated):
    """FPCR is set before kernels and restored after them, and what other libraries have set changes no bit."""
    done = emulated("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_float_mode.py")
    assert done.returncode == 0, jobs.show(done)
    assert "skipped" not in done.stdout


def test_subprocesses_are_emulated_too(emulated):
    """The sandbox of files starts Python again; the digits need no sandbox."""
    code = "from distcnn.data.sandbox import run_probe; import sys; print(run_probe(sys.argv[1])[0])"
    done = emulated("-c", code, jobs.ROOT / "datasets/digits.h5")
    assert done.stdout == "0\n", jobs.show(done)
