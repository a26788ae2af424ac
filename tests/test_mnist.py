"""The real MNIST, where its four files are available: imported, looked at, trained on."""

import os
from pathlib import Path

import pytest

import distcnn
from tests.helpers import jobs
from tests.helpers.digests import digest

DATA = Path(os.environ.get("DISTCNN_TEST_DATA", Path(distcnn.__file__).parents[2] / "shared/data"))

pytestmark = pytest.mark.skipif(
    not (DATA / "mnist").is_dir(),
    reason="no folder mnist with the four files; DISTCNN_TEST_DATA names its parent",
)


@pytest.fixture(scope="module")
def mnist(tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "mnist.h5"
    done = jobs.run("python", "-m", "distcnn.data", "import", DATA / "mnist", out)
    assert done.returncode == 0, done.stderr
    return out


def test_info_describes_mnist(run, mnist):
    done = run("python", "-m", "distcnn.data", "info", mnist)
    assert done.returncode == 0, done.stdout
    for words in ("60,000", "10,000", "28", "uint8"):
        assert words in done.stdout or words.replace(",", "") in done.stdout


def test_one_epoch_reaches_97_percent(mpirun, run, mnist, tmp_path):
    """Ten epochs, with two of warm-up, reach 99.20 %."""
    schedule = "--epochs", 1, "--warmup-epochs", 0.2
    command = "python", "-m", "distcnn.train", "--data", mnist, *schedule, "--out", "run"
    done = mpirun(2, *command, cwd=tmp_path)
    assert digest(done)
    accuracy = float(done.stdout.split("test accuracy")[1].split("%")[0])
    assert accuracy >= 97
    evaluated = run("python", "-m", "distcnn.evaluate", "run", "--data", mnist, cwd=tmp_path)
    assert f"accuracy {accuracy:.2f}%" in evaluated.stdout
