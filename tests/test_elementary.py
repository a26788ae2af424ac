"""Elementary functions against NumPy in float64, over all magnitudes of float32."""

import math

import numpy as np
import pytest

from distcnn.kernels.jit import kernel
from distcnn.lanes import exp, load, normal, sigmoid, store, tanh
from distcnn.numerics import portable_math

pytestmark = pytest.mark.check


@kernel("f4:2 f4:2 f4:2 f4:2")
def all_three(x, powers, sigmoids, tangents):
    """Compute exp, sigmoid and tanh of x [n, 16]."""
    for n in range(x.shape[0]):
        store(powers, (n,), exp(load(x, (n,))))
        store(sigmoids, (n,), sigmoid(load(x, (n,))))
        store(tangents, (n,), tanh(load(x, (n,))))


def computed(x):
    results = [np.empty_like(x) for _ in range(3)]
    all_three(x, *results)
    return results


def wanted(x):
    x = x.astype(np.float64)
    with np.errstate(over="ignore"):
        powers, small = np.exp(x), np.exp(-np.abs(x))
        return powers, np.where(x < 0, small, 1) / (1 + small), np.tanh(x)


@pytest.mark.parametrize("function", range(3))
def test_within_two_units_in_the_last_place(function):
    x = np.arange(0, 2**32, 4099, dtype=np.int64).astype(np.uint32).view(np.float32)
    x = x[np.isfinite(x)]
    x = x[: len(x) // 16 * 16].reshape(-1, 16)
    ours, exact = computed(x)[function], wanted(x)[function]
    with np.errstate(over="ignore"):
        finite = np.isfinite(exact.astype(np.float32))
    assert np.array_equal(np.isinf(ours), ~finite)
    unit = np.spacing(np.abs(exact[finite]).astype(np.float32)).astype(np.float64)
    assert (np.abs(ours[finite] - exact[finite]) / np.maximum(unit, 2.0**-149)).max() < 2


def test_special_values():
    x = np.array([[np.nan, np.inf, -np.inf, 0.0] * 4], np.float32)
    powers, sigmoids, tangents = computed(x)
    assert np.array_equal(powers[0, :4], [np.nan, np.inf, 0, 1], equal_nan=True)
    assert np.array_equal(sigmoids[0, :4], [np.nan, 1, 0, 0.5], equal_nan=True)
    assert np.array_equal(tangents[0, :4], [np.nan, 1, -1, 0], equal_nan=True)


@kernel("f4:2 f4:2 f4:2")
def normals(x, densities, distributions):
    """Compute density and distribution function of the normal distribution at x [n, 16]."""
    for n in range(x.shape[0]):
        density, distribution = normal(load(x, (n,)))
        store(densities, (n,), density)
        store(distributions, (n,), distribution)


def test_the_normal_distribution():
    x = np.concatenate(
        [np.linspace(-14, 14, 4000), [-1e38, 1e38, 1e-30, 0, -0.0, -np.inf, np.inf, np.nan] * 2]
    )
    x = x.astype(np.float32).reshape(-1, 16)
    density, distribution = np.empty_like(x), np.empty_like(x)
    normals(x, density, distribution)
    exact = x.astype(np.float64)
    with np.errstate(over="ignore"):
        bell = np.exp(-exact * exact / 2) / math.sqrt(2 * math.pi)
    tails = np.vectorize(lambda value: math.erfc(-value / math.sqrt(2)) / 2)(exact)
    for ours, wanted in ((density, bell), (distribution, tails)):
        assert np.allclose(ours, wanted, rtol=1e-6, atol=1e-38, equal_nan=True)


@pytest.mark.parametrize("x", [-700.0, -40.1, -1e-9, 0.0, 0.3, 1.0, 87.0, 699.9])
def test_exp_of_one_number(x):
    assert portable_math.exp(x) == pytest.approx(np.exp(x), rel=1e-15)
