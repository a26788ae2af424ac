"""No kernel reads or writes beyond its arrays."""

import pytest

from tests.programs import OUT_OF_BOUNDS

MODELS = "others", "lenet5", "vgg-small"


@pytest.mark.parametrize("side", ["end", "start"])
def test_kernels_stay_within_their_arrays(run, side):
    done = run("python", OUT_OF_BOUNDS, side, *MODELS)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 100  # arrays were guarded
