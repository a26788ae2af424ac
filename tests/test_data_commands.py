"""`python -m distcnn.data` as a user types it."""

import h5py
import numpy as np
import pytest

from tests.helpers.datasets import IMAGES, LABELS, write
from tests.helpers.idx import folder


def test_info_shows_what_a_file_holds(tmp_path, run):
    path = write(
        tmp_path / "small.h5", {"train/images": IMAGES.astype("f4"), "test/images": IMAGES[:4].astype("f4")}
    )
    done = run("python", "-m", "distcnn.data", "info", path)
    assert done.returncode == 0, done.stderr
    for words in (
        "/train/images  float32 (12, 1, 6, 5), contiguous",
        "values from 0 to 250",
        f"mean {IMAGES.mean():g}, standard deviation {IMAGES.std():g}",
        "/test/labels  int64 (4,)",
        "3 classes",
        "4 train, 2 test",
        "fingerprint",
    ):
        assert words in done.stdout
    assert "WRONG" not in done.stdout


def test_info_shows_how_samples_are_packed(run):
    done = run("python", "-m", "distcnn.data", "info", "datasets/digits.h5")
    assert "in chunks (256, 1, 28, 28), compressed by gzip" in done.stdout


def test_info_sums_up_many_classes(tmp_path, run):
    path = write(tmp_path / "many.h5", {"train/labels": np.arange(12) * 10}, None)
    done = run("python", "-m", "distcnn.data", "info", path)
    assert "111 classes, by number" in done.stdout
    assert "train: 0 to 1 samples per class" in done.stdout


def test_info_reports_everything_that_is_wrong(tmp_path, run):
    images = IMAGES.astype("f4")
    images[3, 0, 0, 0] = np.nan
    wrong = {"train/images": images, "train/labels": LABELS[:5] - 1, "test/images": IMAGES[:4].astype("u2")}
    done = run("python", "-m", "distcnn.data", "info", write(tmp_path / "wrong.h5", wrong, classes="cat"))
    assert done.returncode == 2
    for words in (
        "WRONG  /train/images[3] has a pixel that is nan",
        "WRONG  /train/labels[0] is -1",
        "WRONG  /train holds 12 images and 5 labels",
        "WRONG  /test/images holds uint16",
        "WRONG  /train/images are float32 1 x 6 x 5, /test/images uint16 1 x 6 x 5",
        "WRONG  the attribute classes is not a list of names",
    ):
        assert words in done.stdout
    assert done.stdout.count("WRONG") == 6
    assert done.stderr.count("\n") == 1


def test_info_on_a_file_with_nothing_in_it(tmp_path, run):
    h5py.File(tmp_path / "nothing.h5", "w").close()
    done = run("python", "-m", "distcnn.data", "info", tmp_path / "nothing.h5")
    assert done.returncode == 2
    assert "WRONG  /train/images is missing: / holds nothing" in done.stdout


def test_import_replaces_a_file_only_with_force(tmp_path, run):
    source, out = folder(tmp_path / "idx"), tmp_path / "out.h5"
    out.write_text("precious")
    command = ("python", "-m", "distcnn.data", "import", source, out)
    refused = run(*command)
    assert (refused.returncode, out.read_text()) == (2, "precious")
    assert "--force" in refused.stderr
    assert run(*command, "--force").returncode == 0
    assert h5py.is_hdf5(out)


def test_import_into_a_missing_folder_is_refused(tmp_path, run):
    done = run("python", "-m", "distcnn.data", "import", folder(tmp_path / "idx"), tmp_path / "no" / "out.h5")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "words", [(), ("export",), ("info",), ("info", "a.h5", "--fast"), ("import", "folder")]
)
def test_wrong_command_lines_get_one_line(run, words):
    done = run("python", "-m", "distcnn.data", *words)
    assert done.returncode == 2
    assert done.stderr.startswith("distcnn: error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.mpi(ranks=(3,))
def test_several_ranks_speak_once(call):
    done = call("distcnn.data.__main__", "info", "nowhere.h5")
    assert done.returncode == 2
    assert done.stderr.count("distcnn: error: ") == 1
