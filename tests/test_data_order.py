"""Random words and the order of samples: functions of their arguments, the same for ever."""

import numpy as np
import pytest

from distcnn.data.order import epoch_order
from distcnn.numerics import random
from distcnn.numerics.random import DROPOUT, ORDER, WEIGHTS, words

LARGEST = 2**64 - 1
MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)


def philox(counter, key):
    """Return the four words of Philox4x64-10 as Salmon et al. (2011) define them."""
    for _ in range(10):
        low, high = counter[0] * MULTIPLIERS[0], counter[2] * MULTIPLIERS[1]
        counter = (
            (high >> 64) ^ counter[1] ^ key[0],
            high & LARGEST,
            (low >> 64) ^ counter[3] ^ key[1],
            low & LARGEST,
        )
        key = tuple((k + w) & LARGEST for k, w in zip(key, WEYL, strict=True))
    return counter


def test_the_oracle_gives_the_published_words():
    """The known answers of Random123, philox4x64 with 10 rounds."""
    zeros = (0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B)
    ones = (0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0)
    assert philox((0,) * 4, (0,) * 2) == zeros
    assert philox((LARGEST,) * 4, (LARGEST,) * 2) == ones


@pytest.mark.parametrize(
    ("seed", "purpose", "epoch"),
    [(0, ORDER, 0), (1, WEIGHTS, 7), (LARGEST, DROPOUT, 2**40), (2**63, ORDER, 1)],
)
def test_words_are_philox(seed, purpose, epoch):
    wanted = [word for count in (1, 2, 3) for word in philox((count, 0, 0, epoch), (seed, purpose))]
    found = words(seed, purpose, epoch, 10)
    assert found.dtype == np.uint64
    assert found.tolist() == wanted[:10]


def test_purposes_keep_their_numbers():
    purposes = random.ORDER, random.WEIGHTS, random.AUGMENTATION, random.DROPOUT
    assert purposes == (0, 1, 2, 3)


def test_fewer_words_are_the_first_of_more():
    assert words(3, ORDER, 0, 5).tolist() == words(3, ORDER, 0, 50)[:5].tolist()


def test_an_order_is_known():
    assert epoch_order(seed=0, epoch=0, n=10).tolist() == GOLDEN


GOLDEN = sorted(range(10), key=lambda i: philox((1 + i // 4, 0, 0, 0), (0, ORDER))[i % 4])


@pytest.mark.parametrize("n", [1, 2, 17, 1000])
def test_an_order_is_a_permutation(n):
    order = epoch_order(5, 3, n)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(n))


@pytest.mark.parametrize(("seed", "epoch"), [(0, 1), (1, 0), (LARGEST, 0)])
def test_seed_and_epoch_change_the_order(seed, epoch):
    assert epoch_order(seed, epoch, 100).tolist() != epoch_order(0, 0, 100).tolist()


def test_equal_words_keep_the_order_of_the_file(monkeypatch):
    monkeypatch.setattr(random, "words", lambda *_: np.array([7, 1, 7, 1] * 20, np.uint64))
    wanted = [i for i in range(80) if i % 2] + [i for i in range(80) if not i % 2]
    assert epoch_order(0, 0, 80).tolist() == wanted
