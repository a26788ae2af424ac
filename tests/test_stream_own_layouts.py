"""Users' own layouts, streamed: the same samples as in memory, or one line on what to do."""

import re

import h5py
import numpy as np
import pytest

from distcnn.data.dataset import load
from distcnn.data.images import load_images
from distcnn.data.stream.images import StreamedImages
from distcnn.data.wanted import Wanted
from distcnn.errors import DataError
from distcnn.parallel.serial import SerialComm
from tests.helpers.streams import small_units

RANDOM = np.random.default_rng(0)
N = 90
LABELS = np.sort(np.arange(N) % 3)
COLOR = RANDOM.integers(0, 256, (N, 8, 9, 3), np.uint8)
LAYOUTS = {
    "channels last": (COLOR, None),
    "big-endian floats": (COLOR.astype(">f4"), None),
    "doubles": (COLOR.astype("f8"), None),
    "16 bits": (COLOR.astype("u2") * 257, None),
    "false and true": (COLOR > 127, None),
    "flattened": (COLOR.reshape(N, -1), "NHWC:8x9x3"),
}


@pytest.fixture(autouse=True)
def _small(monkeypatch, tmp_path):
    """Let units be small, and notes lie in a folder of the test."""
    small_units(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)


def both(data, **wanted):
    """Return a dataset that is streamed, and the same in memory."""
    return [load(data, SerialComm(), wanted=Wanted(**wanted), mode=mode) for mode in ("stream", "memory")]


def check(streamed, memory):
    """Compare two splits."""
    assert isinstance(streamed.images, StreamedImages)
    found = streamed.images[np.arange(len(streamed.images))]
    assert found.dtype == memory.images.dtype
    np.testing.assert_array_equal(found, memory.images)
    np.testing.assert_array_equal(np.concatenate([*map(np.copy, streamed.images.in_order())]), memory.images)
    np.testing.assert_array_equal(streamed.labels, memory.labels)


def refused(data, **options):
    """Return the one line with which streaming is refused."""
    with pytest.raises(DataError) as raised:
        load(data, SerialComm(), mode="stream", **options)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def write(path, images, labels=LABELS, **storage):
    with h5py.File(path, "w") as file:
        file.create_dataset("X", data=images, **storage)
        file["y"] = labels
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", LAYOUTS)
def test_own_layouts_are_streamed(tmp_path, name, packed):
    images, layout = LAYOUTS[name]
    storage = {"chunks": (4, *images.shape[1:]), "compression": "gzip"} if packed else {}
    streamed, memory = both(write(tmp_path / "a.h5", images, **storage), layout=layout)
    check(streamed.train, memory.train)
    assert (streamed.scale, streamed.classes) == (memory.scale, memory.classes)
    assert streamed.description == memory.description


def test_text_as_labels_and_all_splits_in_several_files(tmp_path):
    names = np.array([b"a", b"b", b"c"])[LABELS]
    for split in "train", "test", "val":
        write(tmp_path / f"{split}.h5", COLOR, names)
    streamed, memory = both([str(tmp_path / f"{split}.h5") for split in ("train", "test", "val")])
    for split in "train", "test", "validation":
        check(getattr(streamed, split), getattr(memory, split))
    assert streamed.classes == ("a", "b", "c")


def test_rows_that_are_named(tmp_path):
    path = write(tmp_path / "a.h5", COLOR, chunks=(4, 8, 9, 3), compression="lzf")
    rows = {"images": ("/X[7:61]",), "labels": ("/y[7:61]",)}
    tests = {"test_images": ("/X[61:90]",), "test_labels": ("/y[61:90]",)}
    streamed, memory = both(path, **rows, **tests)
    check(streamed.train, memory.train)
    check(streamed.test, memory.test)


def test_two_datasets_that_only_hdf5_decodes(tmp_path):
    """Each has the file open by itself: one that is closed leaves the other readable."""
    path = write(tmp_path / "a.h5", COLOR, chunks=(4, 8, 9, 3), compression="lzf")
    first, second = both(path)[0], both(path)[0]
    first.train.images.source._storages[0].close()
    np.testing.assert_array_equal(second.train.images[np.arange(N)], COLOR.transpose(0, 3, 1, 2))


def test_images_to_predict(tmp_path):
    path = write(tmp_path / "a.h5", COLOR)
    found, memory = (load_images(path, SerialComm(), "train", mode=mode) for mode in ("stream", "memory"))
    check(found, memory)
    assert found.scale == memory.scale


def test_what_is_not_finite_is_found(tmp_path):
    images = COLOR.astype("f8")
    images[71, 1, 2, 0] = 1e300  # beyond float32
    assert "/X[71] has a pixel that is inf" in refused(write(tmp_path / "a.h5", images))


def test_samples_along_the_last_axis_are_refused(tmp_path):
    path = write(tmp_path / "a.h5", np.moveaxis(COLOR, 0, -1))
    assert "to be streamed, images must have samples first" in refused(path, wanted=Wanted(layout="HWCN"))


def test_virtual_datasets_are_refused_and_their_sources_are_not(tmp_path):
    write(tmp_path / "source.h5", COLOR)
    layout = h5py.VirtualLayout(COLOR.shape, "u1")
    layout[:] = h5py.VirtualSource("source.h5", "X", COLOR.shape)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_virtual_dataset("X", layout)
        file["y"] = LABELS
    assert "/X is virtual; such datasets are not streamed: name its sources" in refused(tmp_path / "a.h5")
    check(*(each.train for each in both(tmp_path / "source.h5")))


def test_a_test_split_that_is_cut_off_is_refused_and_the_remedy_works(tmp_path):
    path = write(tmp_path / "a.h5", COLOR)
    named = dict(re.findall(r"--(\S+) '(\S+)'", refused(path, test=0.1)))
    data = load(
        path,
        SerialComm(),
        mode="stream",
        wanted=Wanted(**{k.replace("-", "_"): (v,) for k, v in named.items()}),
    )
    assert (len(data.train.labels), len(data.test.labels)) == (81, 9)


def test_a_validation_split_that_is_cut_off(tmp_path):
    path = write(tmp_path / "a.h5", COLOR)
    data = load(path, SerialComm(), 0.1, mode="stream")
    assert (len(data.train.labels), len(data.validation.labels)) == (81, 9)
    with h5py.File(path, "a") as file:
        file["val/X"], file["val/y"] = COLOR, LABELS
    assert "leave --validation-split out" in refused(path, validation=0.1)
