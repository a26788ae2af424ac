"""No kernel reads or writes beyond its arrays."""

import pytest

from tests.programs import GUARDED

MODELS = "others", "lenet5", "vgg-small"


@pytest.mark.parametrize("side", ["end", "start"])
def test_kernels_stay_within_their_arrays(run, side):
    done = run("python", GUARDED, side, *MODELS)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 100  # arrays were guarded
