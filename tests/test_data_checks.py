"""What `data info` says looks wrong, though one can train on it."""

import numpy as np
import pytest

from distcnn.data.info import report
from tests.helpers.datasets import IMAGES, LABELS, write

MANY = np.random.default_rng(0).integers(0, 256, (400, 1, 6, 5), np.uint8)
RARE = np.where(np.arange(400) < 6, 1, 0)
ALONE = {"test/images": None, "test/labels": None}
OTHERS = {"test/images": IMAGES[:4] + np.uint8(100)}

ODD = {
    "labels from 1": (OTHERS | {"train/labels": LABELS + 1}, "class 0 has no training samples"),
    "a class that is missing": (
        OTHERS | {"train/labels": LABELS % 2 * 2},
        "no training samples for 1 class: 1",
    ),
    "images in two splits": ({}, "4 test images are train images, too, the first is /test/images[0]"),
    "an image of one color": (
        OTHERS | {"train/images": IMAGES * (np.arange(12) != 7).astype("u1")[:, None, None, None]},
        "1 image has one color in all pixels, the first is /train/images[7]",
    ),
    "a rare class": (
        ALONE | {"train/images": MANY, "train/labels": RARE},
        "class 1 is rare, 6 of 400 training samples",
    ),
    "splits on other scales": (
        {"train/images": np.float32(IMAGES), "test/images": np.float32(IMAGES[:4]) / 255},
        "test images have values up to 0.466667, train images up to 250: are both scaled alike?",
    ),
    "an array that is not used": (OTHERS | {"train/ids": np.arange(12)}, "not used: /train/ids"),
    "a test split without labels": (OTHERS | {"test/labels": None}, "test images have no labels"),
}


@pytest.mark.parametrize("name", ODD)
def test_what_looks_wrong_is_told(tmp_path, name):
    replace, words = ODD[name]
    found = report([str(write(tmp_path / "a.h5", replace, None))])
    assert [line for line in found.odd if words in line], found.odd
    assert not found.wrong
    assert len(found.odd) == 1


def test_nothing_is_told_of_a_sound_file(tmp_path):
    assert report([str(write(tmp_path / "a.h5", OTHERS))]).odd == []


def test_the_report_says_what_was_understood(tmp_path):
    arrays = dict.fromkeys(("train/images", "train/labels", "test/images", "test/labels"))
    path = write(tmp_path / "a.h5", arrays | {"x": IMAGES.astype("f8"), "y": LABELS[:, None]})
    found = report([str(path)])
    assert (
        "data: train /x with /y; axes NCHW; pixels float64, as float32, not scaled; labels numbers"
        in found.lines[1]
    )
    assert found.lines[2] == "/x  float64 (12, 1, 6, 5), contiguous"


@pytest.mark.parametrize(
    ("labels", "use"),
    [
        (LABELS, "good for evaluate and predict: test images alone; training needs training images, too"),
        (None, "good for predict: test images without labels; training needs training images with labels"),
    ],
)
def test_test_images_alone_are_not_wrong(tmp_path, labels, use):
    arrays = {"train/images": None, "train/labels": None, "test/images": IMAGES, "test/labels": labels}
    found = report([str(write(tmp_path / "a.h5", arrays))])
    assert found.wrong == []
    assert use in found.lines
    assert any("values from 0 to" in line for line in found.lines)
    assert not any("fingerprint" in line for line in found.lines)


def test_validation_images_alone_are_wrong(tmp_path):
    arrays = dict.fromkeys(("train/images", "train/labels", "test/images", "test/labels"))
    found = report([str(write(tmp_path / "a.h5", arrays | {"val/images": IMAGES, "val/labels": LABELS}))])
    assert found.wrong == ["/train/images is missing: / holds val"]
