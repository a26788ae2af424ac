"""Data that a file refers to in other files: links and virtual datasets, followed with care."""

import os

import h5py
import numpy as np
import pytest

from distcnn.data.dataset import load
from distcnn.data.hdf5_virtual import Comb
from distcnn.errors import DataError
from distcnn.parallel.serial import SerialComm
from tests.helpers.datasets import IMAGES, LABELS, write

N = len(LABELS)


def without_images(path):
    return write(path, {"train/images": None, "test/images": None, "test/labels": None})


def images_of(path):
    return load(path, SerialComm()).train.images


def message(path):
    with pytest.raises(DataError) as raised:
        load(path, SerialComm())
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)
    return str(raised.value)


# ---- links ----


def link(file, other):
    file["train/images"] = h5py.ExternalLink(other, "train/images")


def link_in_two_steps(file, other):
    file["link"] = h5py.ExternalLink(other, "train/images")
    file["train/images"] = h5py.SoftLink("/link")


def link_to_a_group(file, other):
    del file["train"]
    file["train"] = h5py.ExternalLink(other, "/train")


def link_with_a_usual_name(file, other):
    file.move("train/labels", "y_train")
    del file["train"]
    file["x_train"] = h5py.ExternalLink(other, "/train/images")


@pytest.mark.parametrize("store", [link, link_in_two_steps, link_to_a_group, link_with_a_usual_name])
@pytest.mark.parametrize("folder", [".", "below"])
def test_links_within_the_folder_are_followed(tmp_path, store, folder):
    (tmp_path / "below").mkdir()
    write(tmp_path / folder / "other.h5", {"test/images": None, "test/labels": None})
    path = without_images(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        store(file, os.path.join(folder, "other.h5"))
    np.testing.assert_array_equal(images_of(path), IMAGES)


def test_a_link_through_two_files_is_followed(tmp_path):
    write(tmp_path / "last.h5")
    with h5py.File(tmp_path / "between.h5", "w") as file:
        file["x"] = h5py.ExternalLink("last.h5", "train/images")
    path = without_images(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        file["train/images"] = h5py.ExternalLink("between.h5", "x")
    np.testing.assert_array_equal(images_of(path), IMAGES)


def outside(folder, other):
    return f"../{other.name}"


def absolute(folder, other):
    return str(other)


def through_a_link(folder, other):
    (folder / "link.h5").symlink_to(other)
    return "link.h5"


@pytest.mark.parametrize("name", [outside, absolute, through_a_link])
@pytest.mark.parametrize("kind", ["link", "virtual"])
def test_files_outside_the_folder_are_refused(tmp_path, name, kind):
    folder = tmp_path / "in"
    folder.mkdir()
    target = name(folder, write(tmp_path / "other.h5"))
    path = without_images(folder / "a.h5")
    with h5py.File(path, "a") as file:
        if kind == "link":
            file["train/images"] = h5py.ExternalLink(target, "train/images")
        else:
            virtual(file, {target: IMAGES})
    assert "outside the folder of the file that refers to it" in message(path)


@pytest.mark.parametrize(
    ("store", "words"),
    [
        (lambda file: file.__setitem__("train/images", h5py.ExternalLink("no.h5", "x")), "does not exist"),
        (
            lambda file: file.__setitem__("train/images", h5py.ExternalLink("a.h5", "train/images")),
            "more than 8",
        ),
        (lambda file: file.__setitem__("train/images", h5py.SoftLink("/train/images")), "in circles"),
        (lambda file: file.__setitem__("train/images", h5py.SoftLink("/nothing")), "or to nothing"),
    ],
    ids=["missing", "itself", "circle", "nothing"],
)
def test_links_to_nothing_are_refused(tmp_path, store, words):
    path = without_images(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        store(file)
    assert words in message(path)


# ---- virtual datasets ----


def virtual(file, sources, extra=0):
    """Make /train/images of sources {file name: images}, one after the other, and `extra` rows without a source."""
    total = sum(map(len, sources.values())) + extra
    layout, start = h5py.VirtualLayout((total, *IMAGES.shape[1:]), "u1"), 0
    for name, images in sources.items():
        layout[start : start + len(images)] = h5py.VirtualSource(name, "train/images", images.shape)
        start += len(images)
    file.create_virtual_dataset("train/images", layout)


def halves(tmp_path, **storage):
    found = {"one.h5": IMAGES[:5], "two.h5": IMAGES[5:]}
    for name, images in found.items():
        with h5py.File(tmp_path / name, "w") as file:
            file.create_dataset("train/images", data=images, **storage)
    return found


@pytest.mark.parametrize(
    "storage", [{}, {"compression": "gzip", "chunks": (2, 1, 6, 5)}], ids=["plain", "gzip"]
)
def test_virtual_datasets_are_read(tmp_path, storage):
    path = without_images(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        virtual(file, halves(tmp_path, **storage))
    np.testing.assert_array_equal(images_of(path), IMAGES)


def test_virtual_datasets_of_virtual_datasets_and_of_the_same_file_are_read(tmp_path):
    with h5py.File(tmp_path / "between.h5", "w") as file:
        virtual(file, halves(tmp_path))
    path = without_images(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        layout = h5py.VirtualLayout((2 * N, *IMAGES.shape[1:]), "u1")
        layout[:N] = h5py.VirtualSource("between.h5", "train/images", IMAGES.shape)
        layout[N:] = h5py.VirtualSource(".", "here", IMAGES.shape)
        file["here"] = IMAGES
        file.create_virtual_dataset("train/images", layout)
        del file["train/labels"]
        file["train/labels"] = np.tile(LABELS, 2)
    np.testing.assert_array_equal(images_of(path), np.tile(IMAGES, (2, 1, 1, 1)))


def remove(tmp_path, file):
    (tmp_path / "two.h5").unlink()


def shorten(tmp_path, file):
    with h5py.File(tmp_path / "two.h5", "w") as other:
        other["train/images"] = IMAGES[5:9]


def rename(tmp_path, file):
    with h5py.File(tmp_path / "two.h5", "a") as other:
        other.move("train/images", "train/pictures")


def half_write(tmp_path, file):
    with h5py.File(tmp_path / "two.h5", "w") as other:
        other.create_dataset("train/images", IMAGES[5:].shape, "u1", chunks=(1, 1, 6, 5))[:3] = IMAGES[5:8]


def damage(tmp_path, file):
    (tmp_path / "two.h5").write_bytes(b"no HDF5")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (remove, "two.h5, which does not exist"),
        (shorten, "too small or another"),
        (rename, "train/images is missing: /train holds pictures"),
        (half_write, "not written completely"),
        (damage, "is not an HDF5 file"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_a_source_that_hdf5_would_read_as_zeros_is_refused(tmp_path, spoil, words):
    path = without_images(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        virtual(file, halves(tmp_path))
    spoil(tmp_path, path)
    with pytest.raises(DataError, match=words):
        load(path, SerialComm())


def test_a_virtual_dataset_with_a_gap_or_an_overlap_is_refused(tmp_path):
    sources = halves(tmp_path)
    path = without_images(tmp_path / "gap.h5")
    with h5py.File(path, "a") as file:
        virtual(file, sources, extra=2)
    assert "do not fill it" in message(path)
    path = without_images(tmp_path / "overlap.h5")
    with h5py.File(path, "a") as file:
        layout = h5py.VirtualLayout(IMAGES.shape, "u1")
        layout[:6] = h5py.VirtualSource("two.h5", "train/images", IMAGES[5:].shape)[:6]
        layout[5:11] = h5py.VirtualSource("two.h5", "train/images", IMAGES[5:].shape)[:6]
        file.create_virtual_dataset("train/images", layout)
    assert "overlap" in message(path)


ONE, TWO = (h5py.VirtualSource(name, "train/images", (6, 1, 6, 5)) for name in ("one.h5", "two.h5"))
EVEN, ODD = np.s_[0::2], np.s_[1::2]
PIECES = {
    # what lies where, and words of the message; None: it is read
    "rows in turn": ([(EVEN, ONE), (ODD, TWO)], None),
    "runs of rows": (
        [(np.s_[:6], ONE), (np.s_[6::3], TWO[:2]), (np.s_[7::3], TWO[2:4]), (np.s_[8::3], TWO[4:])],
        None,
    ),
    "every other row of the sources": (
        [(np.s_[:3], ONE[::2]), (np.s_[3::3], TWO[::2]), (np.s_[4::3], TWO[1::2]), (np.s_[5::3], ONE[1::2])],
        None,
    ),
    "the same rows twice": ([(EVEN, ONE), (EVEN, TWO)], "overlap"),
    "a row twice": ([(EVEN, ONE), (np.s_[:11:2], TWO)], "overlap"),
    "chosen rows": ([([0, 1, 2, 5, 7, 8], ONE), ([3, 4, 6, 9, 10, 11], TWO)], "neither blocks nor rows"),
}


@pytest.mark.parametrize("name", PIECES)
def test_sources_may_lie_in_turn_and_each_place_is_counted(tmp_path, name):
    pieces, words = PIECES[name]
    for file_name, images in (("one.h5", IMAGES[:6]), ("two.h5", IMAGES[6:])):
        with h5py.File(tmp_path / file_name, "w") as file:
            file["train/images"] = images
    path, layout = without_images(tmp_path / "a.h5"), h5py.VirtualLayout(IMAGES.shape, "u1")
    for place, source in pieces:
        layout[place] = source
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset("train/images", layout)
        as_hdf5_reads = file["train/images"][()]
    if words:
        assert words in message(path)
    else:
        np.testing.assert_array_equal(images_of(path), as_hdf5_reads)
        assert sorted(row.tobytes() for row in as_hdf5_reads) == sorted(row.tobytes() for row in IMAGES)


@pytest.mark.parametrize("seed", range(40))
def test_what_is_counted_is_where_sources_lie(seed):
    """Selections along one axis, compared with what they select of an array."""
    random = np.random.default_rng(seed)
    step = int(random.integers(2, 5))
    n = step * int(random.integers(2, 5))
    starts = [int(k) for k in (random.permutation(step) if seed % 2 else random.integers(0, step, step))]
    combs = [Comb(start, step, n // step, 1) for start in starts]
    if seed % 4 > 1:
        combs[0] = Comb(0, n // 2, 2, n // step // 2 or 1)
    seen, wanted = np.zeros(n, np.uint8), np.zeros(n, int)
    for comb in combs:
        comb.count(seen)
        for run in range(comb.runs):
            wanted[comb.start + run * comb.step :][: comb.length] += 1
    np.testing.assert_array_equal(seen, wanted)


def test_sources_without_a_fixed_size_are_refused(tmp_path):
    endless = h5py.h5s.UNLIMITED
    source = h5py.VirtualSource("two.h5", "train/images", IMAGES.shape, maxshape=(None, *IMAGES.shape[1:]))
    layout = h5py.VirtualLayout(IMAGES.shape, "u1", maxshape=(None, *IMAGES.shape[1:]))
    layout[:endless] = source[:endless]
    halves(tmp_path)
    path = without_images(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset("train/images", layout)
    assert "no fixed size" in message(path)


def test_a_prefix_that_leads_hdf5_elsewhere_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("HDF5_VDS_PREFIX", "/tmp")
    path = without_images(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        virtual(file, halves(tmp_path))
    assert "HDF5_VDS_PREFIX is set" in message(path)


def test_raw_files_are_refused(tmp_path):
    path = without_images(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        file.create_dataset("train/images", IMAGES.shape, "u1", external=[("raw", 0, 360)])
    assert "in other files that are not HDF5" in message(path)
