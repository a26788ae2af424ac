"""`python -m distcnn.data show`: a picture, and what it shows is what training sees."""

import numpy as np

from distcnn.config.augment_spec import read
from distcnn.data.dataset import Split
from distcnn.data.show import distorted
from tests.helpers import jobs

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
