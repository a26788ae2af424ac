"""MNIST's files: read as they are distributed, refused with the remedy when they are not whole."""

import gzip

import numpy as np
import pytest

from distcnn.data.dataset import load
from distcnn.data.importers.idx import find_files, read_idx
from distcnn.errors import DataError
from distcnn.parallel.serial import SerialComm
from tests.helpers.idx import IMAGES, LABELS, MNIST, folder, idx

HEADER = bytes([0, 0, 8, 3, 0, 0, 0, 6, 0, 0, 0, 4, 0, 0, 0, 3])


NAMES = {
    "plain": (MNIST, bytes),
    "gzipped": ([f"{name}.gz" for name in MNIST], gzip.compress),
    "gzipped without saying so": (MNIST, gzip.compress),
    "with dots": ([name.replace("-idx", ".idx") for name in MNIST], bytes),
    "EMNIST": ([f"emnist-letters-{name.replace('t10k', 'test')}.gz" for name in MNIST], gzip.compress),
}


@pytest.mark.parametrize("name", NAMES)
def test_import_gives_a_dataset(tmp_path, run, name):
    source = folder(tmp_path / "idx", *NAMES[name])
    done = run("python", "-m", "distcnn.data", "import", source, tmp_path / "out.h5")
    assert done.returncode == 0, done.stderr
    data = load(tmp_path / "out.h5", SerialComm())
    upright = (lambda images: images.swapaxes(2, 3)) if name == "EMNIST" else (lambda images: images)
    np.testing.assert_array_equal(upright(data.train.images), IMAGES[:, None])
    np.testing.assert_array_equal(data.train.labels, LABELS)
    np.testing.assert_array_equal(upright(data.test.images), IMAGES[2:, None])
    np.testing.assert_array_equal(data.test.labels, LABELS[2:])
    assert data.classes == tuple("01234")


def test_the_plain_one_of_two_like_files_is_taken(tmp_path):
    found = find_files(folder(folder(tmp_path / "idx"), *NAMES["gzipped"]))
    assert sorted(path.name for path in found.values()) == sorted(MNIST)


@pytest.mark.parametrize(
    ("code", "dtype"), [(8, "u1"), (9, "i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")]
)
def test_every_type_of_idx_is_read(tmp_path, code, dtype):
    array = np.array([[1, 2, 3], [4, 5, 100]], dtype)
    (tmp_path / "a").write_bytes(bytes([0, 0, code, 2, 0, 0, 0, 2, 0, 0, 0, 3]) + array.tobytes())
    np.testing.assert_array_equal(read_idx(tmp_path / "a"), array)


WRONG = {
    "empty": (b"", "is not an IDX file"),
    "no magic": (b"\x89HDF" + b"0" * 100, "begins with 89 48 44 46"),
    "unknown type": (b"\0\0\7" + idx(IMAGES)[3:], "is not an IDX file"),
    "header cut off": (HEADER[:9], "needs"),
    "samples cut off": (idx(IMAGES)[:-1], "has 87 bytes, but its shape (6, 4, 3) needs 88"),
    "too long": (idx(IMAGES) + b"0", "has 89 bytes"),
    "packed and cut off": (gzip.compress(idx(IMAGES))[:-9], "is damaged"),
    "packed and damaged": (gzip.compress(idx(IMAGES))[:20] + b"?" * 30, "is damaged"),
    "labels for images": (idx(LABELS), "wanted images, uint8 in 3 dimensions"),
    "another count": (idx(IMAGES[1:]), "5 train images and 6 labels"),
    "no samples": (idx(IMAGES[:0]), "wanted images"),
    "missing": (None, "no train images"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files_are_refused_and_nothing_is_written(tmp_path, run, name):
    content, words = WRONG[name]
    source = folder(tmp_path / "idx")
    (source / MNIST[0]).unlink() if content is None else (source / MNIST[0]).write_bytes(content)
    done = run("python", "-m", "distcnn.data", "import", source, tmp_path / "out.h5")
    assert done.returncode == 2
    assert done.stderr.startswith("distcnn: error: ")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["idx"]


def test_folders_with_several_datasets_are_refused(tmp_path):
    source = folder(folder(tmp_path / "idx"), *NAMES["EMNIST"])
    with pytest.raises(DataError, match="several files of train images, emnist-letters-train-images"):
        find_files(source)


def test_what_is_no_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="is not a folder"):
        find_files(tmp_path / "nowhere")
