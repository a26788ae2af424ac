"""A dataset in memory: the same on every rank, and the remedy for whatever is wrong with its file."""

import hashlib
import os

import h5py
import numpy as np
import pytest

from distcnn.data import fingerprint
from distcnn.data.dataset import load
from distcnn.data.wanted import Wanted
from distcnn.errors import DataError
from distcnn.parallel.serial import SerialComm
from tests.helpers.datasets import IMAGES, LABELS, write


def with_pixel(pixel):
    images = IMAGES.astype(np.float32)
    images[7, 0, 2, 3] = pixel
    return images


def test_digits_are_the_ones_that_the_readme_names():
    digits = load(None, SerialComm())
    assert digits.name == "digits"
    assert digits.fingerprint == "3e0657a23c3df0a787c249b5ce28aa1736446d81f8bebfc7fd9facc6c2de07b6"
    assert digits.classes == tuple("0123456789")
    assert (digits.train.images.shape, digits.test.images.shape) == ((1442, 1, 28, 28), (355, 1, 28, 28))
    shares = np.bincount(digits.test.labels) / np.bincount(digits.train.labels)
    assert np.all(np.abs(shares - 0.25) < 0.01)


@pytest.mark.mpi
def test_every_rank_has_the_same_samples(comm, shared_path):
    path = shared_path / "small.h5"
    if comm.rank == 0:
        write(path)
    comm.Barrier()
    data = load(path, comm)
    assert (data.name, data.classes) == ("small", ("a", "b", "c"))
    np.testing.assert_array_equal(data.train.images, IMAGES)
    np.testing.assert_array_equal(data.test.labels, LABELS[:4])
    assert (data.train.images.dtype, data.train.labels.dtype) == (np.uint8, np.int32)
    assert data.train.images.flags.c_contiguous
    assert not data.train.images.flags.writeable
    assert len(set(comm.allgather(data.fingerprint))) == 1


@pytest.mark.mpi
@pytest.mark.parametrize(
    "replace", [{"train/labels": LABELS - 1}, {"train/labels": None}], ids=["values", "schema"]
)
def test_every_rank_has_the_same_error(comm, shared_path, replace):
    path = shared_path / "wrong.h5"
    if comm.rank == 0:
        write(path, replace)
    comm.Barrier()
    with pytest.raises(DataError) as raised:
        load(path, comm)
    assert len(set(comm.allgather(str(raised.value)))) == 1


def test_the_fingerprint_is_what_its_definition_says(tmp_path):
    data = load(write(tmp_path / "small.h5"), SerialComm())
    total = hashlib.sha256()
    for split, n in (("train", 12), ("test", 4)):
        total.update(f"{split}/images uint8 ({n}, 1, 6, 5)\n".encode() + IMAGES[:n].tobytes())
        total.update(f"{split}/labels int32 ({n},)\n".encode() + LABELS[:n].astype("<i4").tobytes())
    assert data.fingerprint == total.hexdigest()


SAME = {
    "channel axis left out": {"train/images": IMAGES[:, 0], "test/images": IMAGES[:4, 0]},
    "channel axis left out once": {"test/images": IMAGES[:4, 0]},
    "labels of another type": {"train/labels": LABELS.astype(">u2")},
    "labels as whole floats": {"train/labels": LABELS / 1},
    "labels in a column": {"train/labels": LABELS[:, None]},
    "labels as text": {"train/labels": list("abc" * 4), "test/labels": list("abca")},
    "one-hot labels": {"train/labels": np.eye(3)[LABELS], "test/labels": np.eye(3)[LABELS[:4]]},
    "pixels in another byte order": {"train/images": IMAGES.astype(">u1")},
}
OTHER = {
    "one pixel": {"train/images": IMAGES + (np.arange(360) == 7).astype(np.uint8).reshape(IMAGES.shape)},
    "one label": {"test/labels": [1, 1, 2, 0]},
    "another type": {"train/images": IMAGES.astype("f4"), "test/images": IMAGES[:4].astype("f4")},
    "another shape": {
        "train/images": IMAGES.reshape(12, 1, 5, 6),
        "test/images": IMAGES[:4].reshape(4, 1, 5, 6),
    },
    "no test split": {"test/images": None, "test/labels": None},
}


@pytest.mark.parametrize("name", [*SAME, *OTHER])
def test_the_fingerprint_is_of_the_content(tmp_path, name):
    original = load(write(tmp_path / "a.h5"), SerialComm())
    changed = load(write(tmp_path / "b.h5", (SAME | OTHER)[name]), SerialComm())
    assert (original.fingerprint == changed.fingerprint) == (name in SAME)


def test_big_endian_floats_are_read_as_they_are(tmp_path):
    images = np.linspace(-1, 1, IMAGES.size).astype(">f4").reshape(IMAGES.shape)
    data = load(
        write(tmp_path / "a.h5", {"train/images": images, "test/images": images[:4]}, None), SerialComm()
    )
    np.testing.assert_array_equal(data.train.images, images)
    assert data.train.images.dtype == np.float32
    assert data.classes == ("0", "1", "2")


@pytest.mark.parametrize("classes", [np.array([b"a", b"b", b"c"]), ["a", "b", "c"]], ids=["bytes", "text"])
def test_class_names_may_be_stored_either_way(tmp_path, classes):
    assert load(write(tmp_path / "a.h5", classes=classes), SerialComm()).classes == ("a", "b", "c")


# What is wrong -> arrays that replace the good ones, and words of the message.
WRONG_ARRAYS = {
    "no labels": ({"train/labels": None}, "/train/labels is missing: /train holds images"),
    "no train split": ({"train/images": None, "train/labels": None}, "/ holds test"),
    "complex images": ({"train/images": IMAGES * 1j}, "complex128; wanted whole numbers or floats"),
    "16-bit images to train and bytes to test": (
        {"train/images": IMAGES.astype("u2")},
        "/train/images are uint16 1 x 6 x 5, /test/images uint8 1 x 6 x 5",
    ),
    "text as images": ({"train/images": ["cat.png"] * 12}, "decode the images"),
    "ten bands last": ({"train/images": np.zeros((12, 28, 30, 10), "u1")}, "say --layout NHWC (10 channels"),
    "flat images": ({"train/images": IMAGES.reshape(12, -1)}, "wanted (n, c, h, w) or (n, h, w)"),
    "five dimensions": ({"train/images": IMAGES[None]}, "wanted (n, c, h, w)"),
    "a number as images": ({"train/images": np.uint8(3)}, "shape ()"),
    "no array": ({"train/images": h5py.Empty("u1")}, "shape None"),
    "no samples": ({"train/images": IMAGES[:0], "train/labels": LABELS[:0]}, "holds no images: add some"),
    "no test samples": ({"test/images": IMAGES[:0], "test/labels": LABELS[:0]}, "leave the group /test out"),
    "no pixels": ({"train/images": IMAGES[..., :0]}, "without pixels"),
    "counts that differ": ({"train/labels": LABELS[:11]}, "/train holds 12 images and 11 labels"),
    "splits that differ": (
        {"test/images": IMAGES[:4, :, :5]},
        "uint8 1 x 6 x 5, /test/images uint8 1 x 5 x 5",
    ),
    "types that differ": ({"test/images": IMAGES[:4].astype("f4")}, "store both with one type and shape"),
    "NaN": (
        {"train/images": with_pixel(np.nan), "test/images": with_pixel(0)[:4]},
        "/train/images[7] has a pixel that is nan",
    ),
    "infinity": (
        {"train/images": with_pixel(-np.inf), "test/images": with_pixel(0)[:4]},
        "that is -inf; wanted finite",
    ),
    "measures": ({"train/labels": LABELS / 2}, "/train/labels[1] is 0.5, a measure"),
    "labels of two kinds": (
        {"train/labels": LABELS > 1},
        "the labels /test/labels are numbers, those in /train/labels are boolean",
    ),
    "text without a name": (
        {"train/labels": ["cat"] * 12, "test/labels": ["dog"] * 4},
        "wanted one of 3 classes",
    ),
    "several labels": ({"train/labels": np.ones((12, 3), int)}, "several labels a sample"),
    "negative label": ({"train/labels": LABELS - 1}, "/train/labels[0] is -1; wanted 0 to 2"),
    "label without a name": (
        {"test/labels": [0, 1, 3, 0]},
        "/test/labels[2] is 3, but the attribute classes names 3",
    ),
    "huge label": ({"train/labels": LABELS.astype("u8") + 2**63}, "/train/labels[0] is 9223372036854775808"),
}


@pytest.mark.parametrize("name", WRONG_ARRAYS)
def test_wrong_arrays_are_refused_with_the_remedy(tmp_path, name):
    replace, words = WRONG_ARRAYS[name]
    assert words in message(write(tmp_path / "wrong.h5", replace))


def message(path):
    """Return the one line with which a file is refused; it names the file."""
    with pytest.raises(DataError) as raised:
        load(path, SerialComm())
    text = str(raised.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def test_a_label_without_bound_is_refused_where_classes_have_no_names(tmp_path):
    assert "is 70000; wanted 0 to 65535" in message(
        write(tmp_path / "a.h5", {"test/labels": [70000] * 4}, None)
    )


OTHER_ENCODING = np.array([b"\xff"], h5py.string_dtype())


@pytest.mark.parametrize(
    "classes",
    [
        "abc",
        [1, 2, 3],
        [["a", "b"]],
        h5py.Empty("S1"),
        np.array([], "S1"),
        np.array([b"\xff"]),
        OTHER_ENCODING,
    ],
)
def test_wrong_class_names_are_refused(tmp_path, classes):
    assert "file.attrs['classes'] = " in message(write(tmp_path / "wrong.h5", classes=classes))


def truncated(path):
    path.write_bytes(path.read_bytes()[:-200])


def empty(path):
    path.write_bytes(b"")


def text(path):
    path.write_text("label,pixel0,pixel1\n")


def folder(path):
    path.unlink()
    path.mkdir()


def missing(path):
    path.unlink()


def pipe(path):
    path.unlink()
    os.mkfifo(path)


WRONG_FILES = {
    truncated: "truncated or damaged",
    empty: "is empty",
    text: "is not an HDF5 file",
    folder: "python -m distcnn.data import",
    missing: "does not exist",
    pipe: "a device or a pipe",
}


@pytest.mark.parametrize("spoil", WRONG_FILES, ids=lambda spoil: spoil.__name__)
def test_wrong_files_are_refused_with_the_remedy(tmp_path, spoil):
    path = write(tmp_path / "wrong.h5")
    spoil(path)
    assert WRONG_FILES[spoil] in message(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path):
    path = write(tmp_path / "wrong.h5")
    path.chmod(0)
    assert "check its permissions" in message(path)


def test_a_damaged_chunk_is_refused(tmp_path):
    path = write(tmp_path / "wrong.h5", {"train/images": None})
    with h5py.File(path, "a") as file:
        images = file.create_dataset("train/images", data=IMAGES, chunks=IMAGES.shape, compression="gzip")
        start = images.id.get_chunk_info(0).byte_offset
    with open(path, "r+b") as file:
        file.seek(start)
        file.write(b"\xff" * 20)
    assert "truncated or damaged" in message(path)


def nowhere(file, other):
    file["train/images"] = h5py.SoftLink("/nowhere")


def group(file, other):
    file.create_group("train/images")


def raw_file(file, other):
    file.create_dataset("train/images", IMAGES.shape, "u1", external=[(str(other), 0, 360)])


def never_written(file, other):
    file.create_dataset("train/images", IMAGES.shape, "u1")


def half_written(file, other):
    images = file.create_dataset("train/images", IMAGES.shape, "u1", chunks=(4, 1, 6, 5))
    images[:8] = IMAGES[:8]


def huge_chunks(file, other):
    chunks = (12, 2**14, 2**6, 2**6)
    images = file.create_dataset("train/images", IMAGES.shape, "u1", chunks=chunks, maxshape=(None,) * 4)
    file["other"] = IMAGES
    images.id.write_direct_chunk((0, 0, 0, 0), b"short")


def unknown_filter(file, other):
    storage = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    storage.set_chunk(IMAGES.shape)
    storage.set_filter(300, h5py.h5z.FLAG_OPTIONAL)  # a number for tests, which no plugin has
    space = h5py.h5s.create_simple(IMAGES.shape)
    images = h5py.h5d.create(file["train"].id, b"images", h5py.h5t.NATIVE_UINT8, space, storage)
    h5py.Dataset(images)[:] = IMAGES


WRONG_STORAGE = {
    nowhere: "or to nothing",
    group: "is a group; wanted a dataset",
    raw_file: "in other files",
    never_written: "never written",
    half_written: "not written completely",
    huge_chunks: "larger than the dataset",
    unknown_filter: "h5repack -f GZIP=4",
}


@pytest.mark.parametrize("store", WRONG_STORAGE, ids=lambda store: store.__name__)
def test_samples_that_are_not_in_the_file_are_refused(tmp_path, store):
    other = write(tmp_path / "other.h5")
    path = write(tmp_path / "wrong.h5", {"train/images": None})
    with h5py.File(path, "a") as file:
        store(file, other)
    assert WRONG_STORAGE[store] in message(path)


SPOIL = {  # what happens to a file that bears a seal
    "a pixel": lambda file: file["train/images"].__setitem__((3, 0, 2, 2), 250),
    "a test label": lambda file: file["test/labels"].__setitem__(0, 2),
    "a class's name": lambda file: file.attrs.__setitem__("classes", ["a", "b", "d"]),
    "no names": lambda file: file.attrs.__delitem__("classes"),
    "the seal": lambda file: file["train"].attrs.__setitem__("seal", "0" * 64),
    "the seal's type": lambda file: file["train"].attrs.__setitem__("seal", 5),
}


@pytest.fixture
def with_seal(tmp_path):
    path = write(tmp_path / "sealed.h5")
    data = load(path, SerialComm())
    with h5py.File(path, "a") as file:
        file["train"].attrs["seal"] = fingerprint.seal(data.fingerprint, data.classes)
    return path


def test_a_seal_that_fits_is_accepted(with_seal):
    np.testing.assert_array_equal(load(with_seal, SerialComm()).train.images, IMAGES)
    load(with_seal, SerialComm(), wanted=Wanted(layout="NCHW"))


def test_other_axes_than_those_that_were_sealed_are_refused(with_seal):
    with pytest.raises(
        DataError, match="its images have the axes NCHW, but --layout says NHWC: leave --layout out"
    ):
        load(with_seal, SerialComm(), wanted=Wanted(layout="NHWC"))


@pytest.mark.parametrize("spoil", SPOIL.values(), ids=SPOIL)
def test_what_was_sealed_cannot_change(with_seal, spoil):
    with h5py.File(with_seal, "a") as file:
        spoil(file)
    assert "seal" in message(with_seal)


def test_a_name_that_is_not_text_is_refused(tmp_path):
    path = write(tmp_path / "wrong.h5", {"train/images": None})
    with h5py.File(path, "a") as file:
        file[b"train/\xff"] = LABELS
    assert "/train/images is missing: /train holds labels, b'\\xff'" in message(path)


def test_a_link_within_the_file_is_followed(tmp_path):
    path = write(tmp_path / "good.h5", {"test/images": None, "test/labels": None})
    with h5py.File(path, "a") as file:
        file["test"] = h5py.SoftLink("/train")
    np.testing.assert_array_equal(load(path, SerialComm()).test.images, IMAGES)


def test_a_test_split_without_labels_is_left_to_prediction(tmp_path):
    data = load(write(tmp_path / "a.h5", {"test/labels": None}), SerialComm())
    assert data.test is None
    assert any("no labels" in note for note in data.description.notes)
