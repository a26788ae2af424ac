"""No kernel reads or writes beyond its arrays."""

from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("guarded.py")
MODELS = "others", "lenet5", "vgg-small"


@pytest.mark.parametrize("side", ["end", "start"])
def test_kernels_stay_within_their_arrays(run, side):
    done = run("python", SCRIPT, side, *MODELS)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 100  # arrays were guarded
