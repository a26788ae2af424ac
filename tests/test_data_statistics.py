"""Mean and deviation of channels: right, exact for bytes, and in one order for floats."""

import numpy as np
import pytest

from distcnn.data.statistics import PIECE, channel_statistics

SHAPES = [(1, 1, 1, 1), (3, 2, 5, 7), (100, 3, 8, 8), (PIECE // 100 + 9, 1, 10, 10), (2, 2, 600, 500)]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("shape", SHAPES)
def test_against_numpy(shape, dtype):
    images = np.random.default_rng(1).integers(0, 256, shape).astype(dtype)
    mean, std = channel_statistics(images)
    assert (mean.dtype, std.dtype) == (np.float64, np.float64)
    deviation = images.std(axis=(0, 2, 3), dtype=np.float64)
    np.testing.assert_allclose(mean, images.mean(axis=(0, 2, 3), dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(std, np.where(deviation > 0, deviation, 1), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_channel_that_is_the_same_everywhere_has_deviation_1(dtype):
    images = np.stack([np.full((5, 3, 3), 7), np.arange(45).reshape(5, 3, 3)], axis=1).astype(dtype)
    mean, std = channel_statistics(images)
    assert (mean[0], std[0]) == (7, 1)
    assert std[1] > 1


def test_bytes_are_summed_exactly():
    images = np.full((70000, 1, 8, 8), 255, np.uint8)
    images[0, 0, 0, 0] = 254
    mean, std = channel_statistics(images)
    n = images.size
    assert mean[0] == (255 * n - 1) / n
    assert std[0] == np.sqrt((n - 1) / n**2)


def test_a_large_mean_does_not_swallow_a_small_deviation():
    images = (np.arange(4096) % 2 + 2.0**20).astype(np.float32).reshape(16, 1, 16, 16)
    mean, std = channel_statistics(images)
    assert (mean[0], std[0]) == (2.0**20 + 0.5, 0.5)


def test_floats_are_added_in_the_order_that_is_written_down():
    """First the images by halves, then the pixels; an odd one in the middle waits for the next round."""
    images = (10.0 ** np.random.default_rng(2).uniform(-20, 20, (7, 2, 3, 5))).astype(np.float32)
    wanted = [fold([fold(images[:, c, y, x].tolist()) for y in range(3) for x in range(5)]) for c in (0, 1)]
    mean, _ = channel_statistics(images)
    assert mean.tolist() == [total / (7 * 15) for total in wanted]


def fold(values):
    while len(values) > 1:
        half, rest = len(values) // 2, len(values) - len(values) // 2
        values = [values[i] + values[rest + i] for i in range(half)] + values[half:rest]
    return values[0]


def test_images_are_not_changed():
    images = np.random.default_rng(3).random((20, 1, 4, 4), dtype=np.float32)
    images.flags.writeable = False
    channel_statistics(images)
