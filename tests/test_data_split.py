"""The validation split: cut from training by the seed, whole, and moved without a second copy of the data."""

import numpy as np
import pytest

from distcnn.data import split
from distcnn.data.dataset import load
from distcnn.data.split import move_to_end, validation_mask
from distcnn.errors import DataError
from distcnn.parallel.serial import SerialComm
from tests.helpers.datasets import IMAGES, LABELS, write


@pytest.mark.parametrize(
    ("n", "fraction", "count"), [(10, 0, 0), (10, 0.25, 3), (1000, 0.1, 100), (2, 0.5, 1)]
)
def test_so_many_samples_are_for_validation(n, fraction, count):
    mask = validation_mask(n, fraction, seed=0)
    assert mask.shape == (n,)
    assert mask.sum() == count


def test_which_ones_is_a_function_of_the_seed():
    """Pinned, since the bits of every run with a validation split depend on it."""
    assert np.flatnonzero(validation_mask(20, 0.2, seed=0)).tolist() == [3, 6, 15, 18]
    assert not np.array_equal(validation_mask(1000, 0.2, 0), validation_mask(1000, 0.2, 1))
    shares = [half.mean() for half in np.split(validation_mask(10_000, 0.2, 0), 2)]
    assert max(abs(share - 0.2) for share in shares) < 0.02


@pytest.mark.parametrize(("n", "fraction"), [(10, 0.01), (10, 0.99), (1, 0.5)])
def test_a_split_without_samples_is_refused(n, fraction):
    with pytest.raises(DataError, match="wanted some, and not all"):
        validation_mask(n, fraction, seed=0)


@pytest.mark.parametrize("fraction", [0, 0.1, 0.5, 0.9])
def test_chosen_rows_go_to_the_end_in_their_order(monkeypatch, fraction):
    monkeypatch.setattr(split, "PIECE", 7)
    array, mask = np.arange(200).reshape(100, 2), validation_mask(100, fraction, seed=3)
    wanted = np.concatenate([array[~mask], array[mask]])
    move_to_end(array, mask)
    np.testing.assert_array_equal(array, wanted)


def test_training_and_validation_share_no_sample_and_miss_none(tmp_path):
    path = write(tmp_path / "a.h5")
    data = load(path, SerialComm(), validation=0.25, seed=5)
    mask = validation_mask(len(LABELS), 0.25, seed=5)
    for found, rows in ((data.train, ~mask), (data.validation, mask)):
        np.testing.assert_array_equal(found.images, IMAGES[rows])
        np.testing.assert_array_equal(found.labels, LABELS[rows])
    whole = load(path, SerialComm())
    assert whole.validation is None
    assert whole.train.rows is None
    assert data.fingerprint == whole.fingerprint


def test_parts_of_the_training_samples_know_their_rows_in_the_file(tmp_path):
    path = write(tmp_path / "a.h5", {"test/images": None, "test/labels": None})
    data = load(path, SerialComm(), validation=0.25, seed=5, test=0.3)
    parts = data.train, data.test, data.validation
    for found in parts:
        np.testing.assert_array_equal(found.images, IMAGES[found.rows()])
        np.testing.assert_array_equal(found.labels, LABELS[found.rows()])
    assert sorted(np.concatenate([found.rows() for found in parts])) == [*range(len(LABELS))]
