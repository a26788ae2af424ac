"""Kernels compute in IEEE arithmetic, whatever mode other libraries have set in a thread, and restore that mode."""

import threading
from contextlib import contextmanager

import numpy as np
import pytest

from distcnn.kernels.float_mode import IEEE_MODE, each_in_ieee_mode, ieee_mode, set_float_mode
from distcnn.lanes.cpu import IS_AARCH64, IS_X86
from tests.helpers.arrays import normal
from tests.helpers.digests import train_here
from tests.helpers.nets import small_net

pytestmark = pytest.mark.skipif(
    not (IS_X86 or IS_AARCH64), reason="the register of this processor is not known"
)

# As another library may leave them. x86: flush to zero, denormals are zero. AArch64: FZ, FZ16, DN.
FLUSH = 0x9FC0 if IS_X86 else 1 << 24 | 1 << 19 | 1 << 25
UPWARD = 0x5F80 if IS_X86 else 1 << 22  # rounding
MODES = {"flush to zero": FLUSH, "rounding up": UPWARD, "both": FLUSH | UPWARD}
SINCE = 0x3F if IS_X86 else 0  # x86's flags of what has happened, in the same register


def mode():
    """Return the mode of this thread."""
    found = np.zeros(1, np.int64)
    set_float_mode(IEEE_MODE, found)
    set_float_mode(int(found[0]), np.zeros(1, np.int64))
    return int(found[0]) & ~SINCE


@contextmanager
def set_beforehand(value):
    """Set a mode in this thread, as other libraries do; check that it is still set afterwards."""
    before, after = np.zeros(1, np.int64), np.zeros(1, np.int64)
    set_float_mode(value, before)
    try:
        yield
    finally:
        set_float_mode(int(before[0]), after)
    assert after[0] & ~SINCE == value & ~SINCE


def rounded():
    """Return 1 + 1e-9 by NumPy in the mode of this thread: 1 to the nearest, and the next number above 1 upward."""
    return np.ones(64, np.float32) + np.float32(1e-9)


def test_flush_to_zero_set_beforehand_changes_nothing_in_kernels():
    net = small_net()
    net.parameters["8.weight"][...] *= np.float32(1e-39)  # below 1.2e-38 they are denormal
    images = normal(3, 2, 8, 8)
    wanted = net.predict(images)
    with set_beforehand(FLUSH):
        ours, twice = net.predict(images), np.full(64, 1e-39, np.float32) * np.float32(1.5)
    assert not twice.any(), "the mode has no effect here"
    assert 0 < np.abs(wanted).max() < 1e-38
    assert np.array_equal(ours, wanted)


def test_flush_to_zero_set_beforehand_changes_nothing_in_training():
    with set_beforehand(FLUSH):
        trained, twice = train_here(steps=3), np.full(64, 1e-39, np.float32) * np.float32(1.5)
    assert not twice.any(), "the mode has no effect here"
    assert trained == train_here(steps=3)


@pytest.mark.parametrize("place", ["memory", "stream"])
def test_rounding_set_beforehand_changes_nothing_in_training(place):
    """Python computes initial weights, the statistics of images, the order of samples and the learning rate."""
    argv = "--data-mode", place, "--normalize", "channel", "--schedule", "cosine"
    with set_beforehand(UPWARD):
        trained, upward = train_here(steps=3, argv=argv), rounded()
    assert (upward > 1).all(), "the mode has no effect here"
    assert trained == train_here(steps=3, argv=argv)


def test_iterated_values_are_computed_in_ieee_mode():
    def modes():
        yield mode()
        yield mode()

    with set_beforehand(UPWARD):
        found = [(each, mode()) for each in each_in_ieee_mode(modes())]
    assert found == [(IEEE_MODE, UPWARD & ~SINCE)] * 2


def test_rounding_set_beforehand_changes_nothing_in_kernels():
    net, images = small_net(), normal(3, 2, 8, 8)
    wanted = net.predict(images)
    with set_beforehand(UPWARD):
        ours, upward = net.predict(images), rounded()
    assert (upward > 1).all(), "the mode has no effect here"
    assert (rounded() == 1).all()
    assert np.array_equal(ours, wanted)


@pytest.mark.parametrize("value", MODES.values(), ids=MODES)
def test_the_mode_is_set_and_restored(value):
    with set_beforehand(value):
        assert mode() == value & ~SINCE
        with ieee_mode():
            assert mode() == IEEE_MODE
        assert mode() == value & ~SINCE
        with pytest.raises(ZeroDivisionError), ieee_mode():
            1 / 0  # noqa: B018
        assert mode() == value & ~SINCE


def test_threads_have_modes_of_their_own():
    found = []

    def look():
        with ieee_mode():
            found.append(mode())

    with set_beforehand(FLUSH):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        found.append(mode())
    assert found == [IEEE_MODE, FLUSH & ~SINCE]
