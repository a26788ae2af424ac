"""A program computes what its calls compute one by one, and rejects arguments that do not fit a signature."""

import numpy as np
import pytest

from distcnn.kernels.activations import softmax_forward, tanh_forward
from distcnn.kernels.program import Program
from distcnn.lanes import LANES


def images(seed):
    return np.random.default_rng(seed).standard_normal((1, 3, 2, 4, LANES), np.float32)


def test_calls_in_a_row():
    """Arrays may be any views; numbers keep their type."""
    x, wide, between, y, wanted = images(0), images(1), images(2), images(3), images(4)
    middle = wide[:, :, :, 1:3]
    calls = [
        (tanh_forward, (x, 1.5, 0.25, between)),
        (softmax_forward, (middle, middle)),
        (softmax_forward, (between, y)),
    ]
    program, before = Program(calls), wide.copy()
    program()
    tanh_forward(x, 1.5, 0.25, between)
    softmax_forward(between, wanted)
    assert np.array_equal(y, wanted)
    assert np.allclose(middle.sum(axis=1), 1)
    assert np.array_equal(wide[:, :, :, ::3], before[:, :, :, ::3])
    x *= 2  # arrays are used where they lie
    program()
    assert not np.array_equal(y, wanted)


@pytest.mark.parametrize("y", [images(0)[0], images(0).astype(np.float64)])
def test_arguments_that_do_not_fit_are_rejected(y):
    with pytest.raises(TypeError, match="softmax_forward"):
        Program([(softmax_forward, (images(0), y))])
    with pytest.raises(TypeError, match="2 arguments"):
        Program([(softmax_forward, (images(0),))])
