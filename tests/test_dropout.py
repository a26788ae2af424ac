"""Dropout: masks are a function of seed, epoch, sample and layer; and the generator behind them."""

import numpy as np
import pytest

from distcnn import Net
from distcnn.errors import NetError
from distcnn.kernels.jit import kernel
from distcnn.lanes import store_tile, uniform
from distcnn.layers import Dense, Dropout, Flatten
from tests.helpers import oracle
from tests.helpers.arrays import normal

pytestmark = pytest.mark.check

SHAPE = (3, 5, 7)


@kernel("i8 i8 i8 i8:1 i8 f4:3")
def chances(seed, position, stream, samples, epoch, y):
    """y[0 ... 3] = four Lanes of random numbers."""
    store_tile(y, (0, 0), uniform(seed, position, stream, samples, epoch), 1, 4, 1)


@pytest.mark.parametrize(
    ("key", "counter", "words"),  # as the authors' own test has them
    [
        (0, (0, 0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (
            0x299F31D0A4093822,
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_generator_gives_its_authors_numbers(key, counter, words):
    y, samples = np.zeros((1, 4, 16), np.float32), np.full(16, counter[2])
    chances(key, counter[0], counter[1], samples, counter[3], y)
    wanted = [(word >> 8) * 2.0**-24 for word in words]
    assert np.array_equal(y[0], np.repeat(wanted, 16).reshape(4, 16))
    assert oracle.philox(counter, (key % 2**32, key >> 32)) == list(words)


def mask_of(net, n, **options):
    return net.forward(np.ones((n, *net.input_shape), np.float32), **options)


def test_mask_is_that_of_the_plain_generator():
    mask = mask_of(Net([Dropout(0.25)], SHAPE, seed=3 + (5 << 32)), 18)
    for sample in (0, 17):
        for c, r, q in ((0, 0, 0), (2, 4, 6), (1, 3, 5)):
            place = ((c * 5 + r) * 2) + q // 4
            word = oracle.philox((place, 0, sample, 0), (3, 5))[q % 4]
            wanted = 0 if (word >> 8) * 2.0**-24 < 0.25 else np.float32(4 / 3)
            assert mask[sample, c, r, q] == wanted


@pytest.mark.parametrize("p", [0, 0.1, 0.5, 0.9])
def test_as_many_as_asked_for_are_dropped(p):
    mask = mask_of(Net([Dropout(p)], (4, 32, 33)), 16)
    assert np.unique(mask).size == (2 if p else 1)
    assert abs((mask == 0).mean() - p) < 0.01
    assert abs(mask.mean() - 1) < 0.03


def test_nothing_is_dropped_in_prediction():
    assert (mask_of(Net([Dropout(0.5)], SHAPE), 5, training=False) == 1).all()


@pytest.mark.parametrize("layers", [[Dropout(0.3)], [Flatten(), Dropout(0.3)]], ids=["image", "features"])
def test_gradient_goes_the_way_of_the_mask(layers):
    net, x = Net(layers, SHAPE), normal(20, *SHAPE)
    y = net.forward(x)
    mask = mask_of(net, 20)
    assert np.array_equal(y, x.reshape(y.shape) * mask)
    dy = normal(*y.shape, seed=1)
    net.forward(x)
    assert np.array_equal(net.backward(dy), (dy * mask).reshape(x.shape))


def test_mask_differs_by_sample_seed_and_layer():
    first = mask_of(Net([Dropout(0.5)], SHAPE), 33)
    assert np.array_equal(first, mask_of(Net([Dropout(0.5)], SHAPE), 33))
    assert len({sample.tobytes() for sample in first}) == 33
    assert not np.array_equal(first, mask_of(Net([Dropout(0.5)], SHAPE, seed=1), 33))
    twice = mask_of(Net([Dropout(0.5), Dropout(0.5)], SHAPE), 33)
    assert 0.2 < (twice > 0).mean() < 0.3


def test_mask_differs_by_epoch_and_not_by_block():
    """In training a sample's mask is that of its number in the data, wherever it stands in the batch."""
    from distcnn.network.plan import Block

    net = Net([Dropout(0.5), Flatten(), Dense(4)], SHAPE)
    images, labels = normal(40, *SHAPE), np.arange(40) % 4

    def sums(epoch, *blocks):
        net.sums[:] = 0
        net.start(3, epoch)
        for samples in blocks:
            net.train_group([Block.of(images, labels, np.array(samples))])
        return net.sums.copy()

    first = sums(0, range(3), range(20, 36))
    assert np.array_equal(first, sums(0, range(20, 36), range(3)))
    assert not np.array_equal(first, sums(1, range(3), range(20, 36)))


@pytest.mark.parametrize("p", [1, -0.1, True, "half", float("nan")])
def test_probabilities_out_of_range_are_refused(p):
    with pytest.raises(NetError, match="Dropout: p is"):
        Dropout(p)
