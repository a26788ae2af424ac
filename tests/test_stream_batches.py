"""Batches of a file that is streamed: every sample once, in full batches, and the same after a resumption."""

import gc
import threading
import time
import weakref
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distcnn.data.blocks import blocks_in_order
from distcnn.data.splits import Split
from distcnn.data.stream import limits
from distcnn.data.stream.batches import StreamedBatches
from distcnn.data.stream.images import StreamedImages
from distcnn.data.stream.order import LEAST
from distcnn.data.stream.reader import Reader
from distcnn.data.stream.units import Units
from distcnn.errors import DataError, LaunchError
from distcnn.lanes import LANES
from tests.helpers.properties import examples
from tests.helpers.streams import small_units, streamed

N = 2000
SHAPE = (1, 4, 4)


def counted(n=N):
    """Return images whose pixels are their numbers, float32 [n, 1, 4, 4]."""
    return np.arange(n, dtype=np.float32)[:, None, None, None] + np.zeros(SHAPE, np.float32)


@pytest.fixture
def split(tmp_path, monkeypatch):
    """Return a split whose units have 4 images."""
    small_units(monkeypatch, 256)
    return Split(streamed(tmp_path / "a.h5", counted()), np.arange(N, dtype=np.int32))


def batches(split, batch_size=32, rank=0, size=1, **changes):
    made = StreamedBatches(split, batch_size, 5, rank, size, **({"window": 1, "epochs": 3} | changes))
    made.require_memory()
    return made


def numbers(blocks):
    """Return the samples of blocks, whose images and labels must be theirs."""
    for block in blocks:
        assert (block.images[block.index, 0, 0, 0] == block.sample).all()
        assert (block.label == block.sample).all()
    return [block.sample[block.weight > 0].tolist() for block in blocks]


def steps(made, epoch=0, first=0):
    return [numbers(blocks) for blocks in made.epoch(epoch, first)]


@examples(12)
@given(st.integers(1, 700), st.integers(1, 140), st.integers(1, 9), st.sampled_from([64, 300, 4096, 10**6]))
def test_every_sample_comes_once_on_any_number_of_ranks(tmp_path_factory, n, batch_size, ranks, target):
    path = tmp_path_factory.mktemp("a") / "a.h5"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("distcnn.data.hdf5_file.check_in_sandbox", lambda path, *names: None)
        small_units(patch, target)
        split = Split(streamed(path, counted(n)), np.arange(n, dtype=np.int32))
        ranks = min(ranks, -(-batch_size // LANES))
        alone = batches(split, batch_size)
        shared = [batches(split, batch_size, rank, ranks) for rank in range(ranks)]
        for epoch in range(2):
            wanted = steps(alone, epoch)
            each = [steps(made, epoch) for made in shared]
            assert [[*chain(*found)] for found in zip(*each, strict=True)] == wanted
            assert [sum(map(len, step)) for step in wanted] == [
                min(batch_size, n - begin) for begin in range(0, n, batch_size)
            ]
            assert sorted(chain(*chain(*wanted))) == list(range(n))
        for made in [alone, *shared]:
            assert made.failure is None
            made.close()


@pytest.mark.parametrize("batch_size", [17, 32, 100])
def test_resumption_at_any_step_gives_the_same_batches(split, batch_size):
    whole = [steps(batches(split, batch_size), epoch) for epoch in range(2)]
    assert whole[0] != whole[1]
    for first in {0, 1, 7, len(whole[0]) // 2, len(whole[0]) - 1}:
        made = batches(split, batch_size)
        assert steps(made, 0, first) == whole[0][first:]
        assert steps(made, 1) == whole[1]
        assert steps(made, 0, first) == whole[0][first:]  # back again, as after a rollback


def test_augmentation_sees_the_numbers_of_samples_and_not_places_in_a_window(split):
    block = next(batches(split).epoch(0))[0]
    assert block.index.tolist() != block.sample.tolist()
    assert len(set(block.sample.tolist())) == LANES


def test_a_block_may_need_several_windows(split):
    """With units of one row, 16 of which are a window, some blocks need two windows or three."""
    tiny = StreamedImages(split.images.source, Units(np.arange(N), np.ones(N, np.int64)))
    made, copied, seen = batches(Split(tiny, split.labels), 48), 0, []
    for blocks in made.epoch(0):
        copied += sum(len(block.images) == LANES for block in blocks)
        seen += chain(*numbers(blocks))
    assert copied > 30
    assert sorted(seen) == list(range(N))


def test_a_rank_reads_its_units_and_no_others(split):
    source = split.images.source
    for ranks in (1, 2, 4):
        before, size = source.bytes_read, N * split.images.image_bytes
        for rank in range(ranks):
            steps(batches(split, 64, rank, ranks, epochs=1))
        assert size <= source.bytes_read - before < 1.03 * size  # units at the edges of pieces are read twice


def test_reading_keeps_pace_with_the_steps(split):
    """No more than two windows of a position are in memory, and nothing is read after the last epoch."""
    made = batches(split, 32, epochs=2)
    source, largest, step = split.images.source, 0, 0
    begin = source.bytes_read
    for epoch in range(2):
        for blocks in made.epoch(epoch):
            step += 1
            used = step * 32 * split.images.image_bytes
            time.sleep(0.002)  # the reader may go on as far as it likes
            largest = max(largest, source.bytes_read - begin - used)
            assert blocks
    window = 2 * LEAST * 4 * split.images.image_bytes  # of two positions; units have 4 images
    assert largest <= 2 * window + 4 * split.images.image_bytes
    assert source.bytes_read - begin < 1.03 * 2 * N * split.images.image_bytes


def test_a_failure_leaves_steps_without_blocks(split, monkeypatch):
    """So that a rank still takes part in the step, after which all ranks learn of it."""
    made = batches(split)
    found = made.epoch(0)
    assert next(found)
    read = split.images.source.read

    def fail(*_):
        raise DataError("planted")

    monkeypatch.setattr(split.images.source, "read", fail)
    rest = list(found)
    assert not rest[-1]
    assert str(made.failure) == "planted"
    monkeypatch.setattr(split.images.source, "read", read)
    assert sorted(chain(*chain(*steps(batches(split))))) == list(range(N))


def test_a_mistake_in_the_thread_is_raised(split, monkeypatch):
    monkeypatch.setattr(Reader, "_window", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        next(batches(split).epoch(0))


def readers():
    return [thread for thread in threading.enumerate() if thread.name == "reader"]


def ended(before):
    """Return whether no more readers run than before, now or soon."""
    end = time.monotonic() + 20
    while len(readers()) > before and time.monotonic() < end:
        time.sleep(0.01)
    return len(readers()) <= before


def test_no_thread_is_left(split):
    before = len(readers())
    made, dropped = batches(split), batches(split)
    next(made.epoch(0))
    next(dropped.epoch(0))
    assert len(readers()) == before + 2
    made.close()
    del dropped
    assert ended(before)
    made.close()
    assert next(made.epoch(0))  # which begins anew
    made.close()
    steps(batches(split, epochs=1))
    assert ended(before)


def test_windows_of_a_reader_that_was_replaced_are_freed(split):
    before, made = len(readers()), batches(split)
    next(made.epoch(0))
    old = weakref.ref(made._reader)
    next(made.epoch(0, 5))
    assert ended(before + 1)
    gc.collect()
    assert old() is None
    made.close()


def test_blocks_in_the_order_of_the_file(split):
    """With any division among ranks and threads, also where only some rows are those of the split."""
    some = Units(np.array([3, 40, 41, 1990]), np.array([4, 1, 20, 10]))
    part = Split(StreamedImages(split.images.source, some), np.arange(35, dtype=np.int32))
    rows = np.concatenate([np.arange(a, a + b) for a, b in zip(*some, strict=True)])
    np.testing.assert_array_equal(part.images[np.arange(35)][:, 0, 0, 0], rows)
    for positions in (range(3), range(1, 3), range(2, 3), range(1), range(3, 3)):
        seen, labels = [], []
        for block in blocks_in_order(part, positions):
            there = block.weight > 0
            seen += block.images[block.index[there], 0, 0, 0].tolist()
            labels += block.label[there].tolist()
        wanted = range(LANES * positions.start, min(LANES * positions.stop, 35))
        assert labels == list(wanted)
        assert seen == rows[list(wanted)].tolist()


def test_more_ranks_than_blocks(split):
    with pytest.raises(LaunchError, match="start at most 2 ranks"):
        batches(split, 32, 0, 3)


def refusal(split, batch_size=64, **options):
    with pytest.raises(DataError, match="streaming needs 2 windows of") as found:
        batches(split, batch_size, **options)
    return str(found.value).rpartition(": ")[2]


def test_windows_that_need_too_much_memory(split, monkeypatch):
    """Each remedy works."""
    window = 4 * LEAST * 4 * split.images.image_bytes  # the smallest windows of 4 positions
    monkeypatch.setattr(limits, "LIMIT", 2 * window)
    batches(split, 64)
    remedy = refusal(split, window=2 * window)
    assert remedy == f"use --window {window} or less"
    batches(split, 64, window=window)
    monkeypatch.setattr(limits, "LIMIT", window)
    assert refusal(split) == "start at least 2 ranks, or use --batch-size 32 or less"
    batches(split, 64, 0, 2)
    batches(split, 32)


def test_chunks_that_are_too_large(tmp_path, monkeypatch):
    small_units(monkeypatch, 64)
    monkeypatch.setattr(limits, "LIMIT", 2 * LEAST * 8 * 64)  # room for units of 8 images

    def made(name, **storage):
        return Split(streamed(tmp_path / name, counted(100), **storage), np.arange(100, dtype=np.int32))

    remedy = refusal(made("a.h5", chunks=(50, *SHAPE)), 16)
    wanted = "store the images in chunks of at most 8, with chunks=(8, ...) of h5py's create_dataset"
    assert remedy == f"{wanted}, or with python -m distcnn.data pack {tmp_path / 'a.h5'} OUT.h5"
    batches(made("b.h5", chunks=(8, *SHAPE)), 16)
    monkeypatch.setattr(limits, "LIMIT", 2 * LEAST * 63)
    assert refusal(made("c.h5"), 16) == "use --data-mode memory, or smaller images"
