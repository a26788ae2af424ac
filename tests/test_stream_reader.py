"""When a rank reads its units: in few bursts, before they are needed, and not while nobody waits for it."""

import threading
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distcnn.data.stream.images import StreamedImages
from distcnn.data.stream.milestone import Milestone
from distcnn.data.stream.order import LEAST, Order
from distcnn.data.stream.reader import Reader
from distcnn.data.stream.schedule import BURSTS, MOST, Schedule
from distcnn.data.stream.units import units_of
from distcnn.errors import DataError
from tests.helpers.properties import examples
from tests.helpers.streams import small_units, streamed

BATCH_SIZE = 64


def schedule(n, unit, share, epoch=0, previous=(), most=LEAST):
    order = Order(1, epoch, units_of([(0, n, unit)]).size, BATCH_SIZE, most)
    return Schedule(order, share, epoch * -(-n // BATCH_SIZE), 0, list(previous))


@examples(60)
@given(st.integers(1, 6000), st.integers(1, 20), st.integers(0, 3), st.integers(1, 4))
def test_all_is_read_once_and_in_time(n, unit, first, count):
    share, turns = range(first, min(first + count, 4)), []
    for epoch in range(2):
        made = schedule(n, unit, share, epoch, turns)
        bursts, turns = list(made.bursts()), made.turns
        reads = [read for burst in bursts for read in burst]
        assert all(len({read.step for read in burst}) == 1 and len(burst) <= MOST for burst in bursts)
        assert [read.step for read in reads] == sorted(read.step for read in reads)
        assert [made.unit(k) for k in range(len(made))] == [read.unit for read in reads]
        for place, windows in enumerate(made.windows):
            for number, window in enumerate(windows):
                ours = [read for read in reads if (read.place, read.window) == (place, number)]
                assert sum(read.last - read.first for read in ours) == window.end - window.begin
                turn = turns[place][number]
                last = max(k for k, read in enumerate(reads) if read in ours)
                assert made.needed(turn.first) > last
                assert all(read.step <= turn.first for read in ours)
                assert number < 2 or all(read.step > turns[place][number - 2].last for read in ours)


def test_all_positions_read_in_the_same_few_bursts():
    """The steps between them are those at which the caches are left to the steps."""
    share = range(4)
    made = schedule(100_000, 16, share, most=64)
    steps = [read.step for burst in made.bursts() for read in burst]
    each = [{read.step for burst in made.bursts() for read in burst if read.place == k} for k in share]
    assert len(set(steps)) <= BURSTS * made.order.windows
    assert len(set(steps)) < 1.1 * max(map(len, each))


def test_nobody_is_woken_in_vain(monkeypatch):
    found, woken = Milestone(0), []
    wake = found._raised.notify_all
    monkeypatch.setattr(found._raised, "notify_all", lambda: [woken.append(found.value), wake()])
    found.reach(1)
    thread = threading.Thread(target=found.wait_for, args=(4,))
    thread.start()
    while found._wanted is None:
        pass
    for value in (2, 3, 4):
        found.reach(value)
    thread.join(20)
    assert not thread.is_alive()
    found.reach(5)
    found.wait_for(5)
    assert woken == [4]


@pytest.fixture
def images(tmp_path, monkeypatch):
    """Return 2000 images, their numbers, in units of 4."""
    monkeypatch.setattr("distcnn.data.hdf5_file.check_in_sandbox", lambda path, *names: None)
    small_units(monkeypatch, 256)
    numbers = np.arange(2000, dtype=np.float32)[:, None, None, None] + np.zeros((1, 4, 4), np.float32)
    return streamed(tmp_path / "a.h5", numbers)


def reader(images):
    order_of = partial(Order, 5, sizes=images.units.size, batch_size=BATCH_SIZE, most=LEAST)
    return Reader(images, order_of, range(4), -(-len(images) // BATCH_SIZE), range(1), 0)


def test_what_was_read_from_a_file_that_has_changed_is_not_used(images, monkeypatch):
    """Also where the file is looked at only once for several units."""
    monkeypatch.setattr(images.source._storages[0], "_current_state", lambda: (0, 0))
    with pytest.raises(DataError, match="was changed or truncated while it was in use"):
        reader(images).wait(0, 0)


def test_the_system_is_told_what_comes_next_while_reads_wait_for_the_disk(images, monkeypatch):
    told = []
    monkeypatch.setattr(StreamedImages, "advise", lambda self, unit: told.append(unit))
    for cold in (True, False):
        monkeypatch.setattr(StreamedImages, "cold", cold)
        made = reader(images)
        made.wait(0, 31)
        made.close()
        assert len(told) > 400 if cold else not told
        told.clear()
