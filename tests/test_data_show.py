"""`python -m distcnn.data show`: a picture, and what it shows is what training sees."""

import numpy as np
import pytest
from PIL import Image

from distcnn.config.augment_spec import read
from distcnn.data import show
from distcnn.data.dataset import Split
from distcnn.data.show import distorted
from tests.helpers import jobs
from tests.helpers.datasets import write

PNG = b"\x89PNG\r\n\x1a\n"


def test_a_sheet_is_drawn_and_not_over_a_file(tmp_path, run):
    command = ("python", "-m", "distcnn.data", "show", "datasets/digits.h5", tmp_path / "sheet.png")
    done = run(*command, "--augment", "shift=2,rotate=10", env=jobs.PICTURES)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sheet.png").read_bytes().startswith(PNG)
    again = run(*command)
    assert again.returncode == 2
    assert "--force" in again.stderr


def test_mistakes_are_reported_in_one_line(tmp_path, run):
    done = run(
        "python", "-m", "distcnn.data", "show", "datasets/digits.h5", tmp_path / "a.png", "--augment", "spin"
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "unknown augmentation 'spin'" in done.stderr
    assert not list(tmp_path.iterdir())


def test_each_epoch_has_its_own_distortion_and_none_changes_values():
    images = np.random.default_rng(0).integers(0, 256, (20, 1, 6, 8), dtype=np.uint8)
    split, samples = Split(images, np.zeros(20, np.int32)), np.arange(3, 8)
    first, second = distorted(split, samples, read("flip"), [0, 1])
    assert first.shape == (5, 1, 6, 8)
    assert not np.array_equal(first, second)
    for seen, plain in zip(first, images[samples], strict=True):
        assert np.array_equal(seen, plain) or np.array_equal(seen, plain[:, :, ::-1])


def test_a_sheet_names_splits_and_classes(tmp_path):
    write(tmp_path / "x.h5", classes=("cat & dog", "$x$", "a" * 99))
    text = show.sheet(tmp_path / "x.h5", ending=".svg").decode()
    for words in ("train: 12 images", "test: 4 images", "cat &amp; dog", "$x$", "a" * 13 + "..."):
        assert f"<!-- {words} -->" in text


def test_samples_are_spread_over_the_classes():
    labels = np.repeat(np.arange(12), 50)
    np.random.default_rng(0).shuffle(labels)
    found = show._spread(labels, 24)
    assert sorted(set(labels[found])) == list(range(12))
    assert labels[found].tolist() == sorted(labels[found])
    assert show._spread(labels[:3], 24).size == 3


@pytest.mark.parametrize(("name", "kind"), [("a.png", "PNG"), ("a.JPG", "JPEG")])
def test_the_ending_says_the_format(tmp_path, run, name, kind):
    done = run(
        "python", "-m", "distcnn.data", "show", "datasets/digits.h5", tmp_path / name, env=jobs.PICTURES
    )
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / name).format == kind


@pytest.mark.parametrize("name", ["a.gif", "a", "a.h5"])
def test_other_endings_are_refused(tmp_path, run, name):
    done = run(
        "python", "-m", "distcnn.data", "show", "datasets/digits.h5", tmp_path / name, env=jobs.PICTURES
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "wanted a name that ends in .png, .jpg" in done.stderr
    assert not list(tmp_path.iterdir())
