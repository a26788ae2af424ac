"""The order of samples in stream mode: each exactly once, full batches, and the same for ever."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distcnn.data.stream.order import LEAST, Order, sorted_by, window_units
from distcnn.data.stream.units import Units, split_off, unit_rows, units_of
from distcnn.errors import DataError
from distcnn.lanes import LANES
from distcnn.numerics import random
from tests.helpers.properties import examples

SIZES = units_of([(0, 1000, 16), (0, 333, 7)]).size
files = st.lists(st.tuples(st.just(0), st.integers(1, 400), st.integers(1, 64)), min_size=1, max_size=4)


def samples(order, step):
    """Return the samples of each position in a step."""
    found = []
    for position in range(len(order.width)):
        begin, end = order.places(position, step)
        windows = [each for each in order.windows_of(position) if each.begin < end and each.end > begin]
        parts = [order.numbers(each)[order.shuffled(position, each)] for each in windows]
        line = np.concatenate([np.zeros(0, np.int64), *parts])
        first = windows[0].begin if windows else begin
        found.append(line[begin - first : end - first])
    return found


@examples(150)
@given(files, st.integers(1, 150), st.integers(1, 32), st.integers(0, 2**63 - 1), st.integers(0, 9))
def test_every_sample_comes_once_and_every_batch_is_full(parts, batch_size, most, seed, epoch):
    sizes = units_of(parts).size
    order, n = Order(seed, epoch, sizes, batch_size, most), int(sizes.sum())
    seen = []
    for step in range(-(-n // batch_size)):
        of_step = samples(order, step)
        assert len(of_step) == -(-batch_size // LANES)
        count = min(batch_size, n - step * batch_size)
        lengths = [min(max(count - LANES * position, 0), LANES) for position in range(len(of_step))]
        assert [len(each) for each in of_step] == lengths
        seen += of_step
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.arange(n))


@examples(50)
@given(files, st.integers(1, 150), st.integers(1, 32))
def test_windows_are_whole_and_not_too_large(parts, batch_size, most):
    sizes = units_of(parts).size
    order = Order(1, 2, sizes, batch_size, most)
    for position in range(len(order.width)):
        windows = order.windows_of(position)
        edges = [order.piece[position], *(each.end for each in windows)]
        assert [each.begin for each in windows] == edges[:-1]
        assert edges[-1] == order.piece[position + 1]
        if len(sizes) > 1 and (sizes == sizes[0]).all():
            assert all(each.last - each.first <= most + 2 for each in windows)


def test_an_order_never_changes():
    """Pinned, since the bits of every run in stream mode depend on it."""
    order = Order(7, 3, SIZES, 100, 4)
    line = np.concatenate([np.concatenate(samples(order, step)) for step in range(-(-1333 // 100))])
    assert order.windows == GOLDEN_WINDOWS
    assert hashlib.sha256(line.astype("<i8").tobytes()).hexdigest() == GOLDEN


GOLDEN_WINDOWS = 5
GOLDEN = "9efd02cb55ec16441a6cd30276484f3a2f2f1a285685c319157bddab466f7457"


@pytest.mark.parametrize(("seed", "epoch"), [(8, 3), (7, 4)])
def test_seed_and_epoch_change_the_order(seed, epoch):
    assert Order(seed, epoch, SIZES, 100, 4).line.tolist() != Order(7, 3, SIZES, 100, 4).line.tolist()


def test_classes_that_are_sorted_mix():
    """Chi squared of the labels of 100 batches is near 1 per degree of freedom; of neighboring rows it would be 50."""
    n, classes, batch_size = 200_000, 10, 128
    sizes = units_of([(0, n, 50)]).size
    order = Order(0, 0, sizes, batch_size, 32)
    label = np.sort(np.arange(n) % classes)
    found = []
    for first in (0, 300, 700, 1400):
        counts = np.zeros(classes)
        for step in range(first, first + 100):
            counts += np.bincount(label[np.concatenate(samples(order, step))], minlength=classes)
        wanted = counts.sum() / classes
        found.append(((counts - wanted) ** 2 / wanted).sum() / (classes - 1))
    assert np.mean(found) < 4


@examples(100)
@given(st.lists(st.one_of(st.integers(0, 3), st.integers(0, 2**64 - 1)), min_size=1, max_size=200))
def test_words_are_sorted_as_by_a_stable_sort(drawn):
    """Also words that are equal, and words of which most have the same highest bits."""
    words = np.array(drawn, np.uint64)
    np.testing.assert_array_equal(sorted_by(words), np.argsort(words, kind="stable"))


def test_many_words_are_sorted_as_by_a_stable_sort():
    words = random.words(3, random.WINDOW_ORDER, 0, 70_000)
    np.testing.assert_array_equal(sorted_by(words), np.argsort(words, kind="stable"))


def test_a_window_has_enough_units():
    assert window_units(2**27, positions=8, unit_bytes=2**18) == 64
    assert window_units(1, positions=8, unit_bytes=2**18) == LEAST == 16


@pytest.mark.parametrize(
    ("rows", "row_bytes", "chunk_rows", "wanted"),
    [
        (60_000, 784, 1, 256),  # at most 256 KiB
        (60_000, 784, 64, 256),  # the same in chunks
        (60_000, 784, 100, 200),
        (60_000, 784, 4096, 4096),  # no part of a chunk
        (100, 784, 1, 100),
        (10, 2**20, 1, 1),
        (2**33, 784, 1, 2**13),  # at most 2**21 units
    ],
)
def test_units(rows, row_bytes, chunk_rows, wanted):
    assert unit_rows(rows, row_bytes, chunk_rows) == wanted


def test_units_end_with_their_file():
    units = units_of([(0, 10, 4), (0, 5, 5), (0, 3, 7)])
    assert units.start.tolist() == [0, 4, 8, 10, 15]
    assert units.size.tolist() == [4, 4, 2, 5, 3]
    assert (units.rows, units.largest) == (18, 5)


def rows_of(units):
    return np.concatenate([np.arange(a, a + b) for a, b in zip(*units, strict=True)])


@examples(150)
@given(files, st.floats(0.01, 0.99), st.integers(0, 2**63 - 1))
def test_validation_has_the_fraction_and_shares_no_row(parts, fraction, seed):
    units = units_of(parts)
    count = int(units.rows * fraction + 0.5)
    if not 0 < count < units.rows:
        with pytest.raises(DataError, match="wanted some, and not all"):
            split_off(units, fraction, seed)
        return
    training, validation = split_off(units, fraction, seed)
    assert validation.rows == count
    both = np.sort(np.concatenate([rows_of(training), rows_of(validation)]))
    np.testing.assert_array_equal(both, np.arange(units.rows))
    assert len(training.size) + len(validation.size) <= len(units.size) + 1  # one unit is divided


def test_validation_spreads_over_the_file_and_follows_from_the_seed():
    units = units_of([(0, 6400, 16)])
    _, validation = split_off(units, 0.1, 3)
    counts = np.bincount(rows_of(validation) // 1600)
    assert (abs(counts - 160) <= 16).all()
    assert rows_of(split_off(units, 0.1, 3)[1]).tolist() == rows_of(validation).tolist()
    assert rows_of(split_off(units, 0.1, 4)[1]).tolist() != rows_of(validation).tolist()
    assert split_off(units, 0.0, 3) == (units, None)
    assert isinstance(validation, Units)
