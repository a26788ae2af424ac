"""Files that change while they are read, sources that cannot be opened, and chunks that hold too little, are refused.

HDF5 gives zeros, or whatever lies in memory, in place of what is missing, without an error.
"""

import os
import resource
import sys
import zlib

import h5py
import numpy as np
import pytest

from distcnn.config.types import MEMORY, STREAM
from distcnn.data import chunk_checks, dataset, describe, images, reading, sandbox_probe
from distcnn.data.dataset import load
from distcnn.data.images import load_images
from distcnn.data.packing import content
from distcnn.data.packing.pack import Choices, pack
from distcnn.data.packing.sources import content_of_files
from distcnn.data.stream import loading, source
from distcnn.errors import DataError
from distcnn.parallel.serial import SerialComm
from tests.helpers.datasets import IMAGES, LABELS, write

LONG_AGO = 10**9
ALONE = {"test/images": None, "test/labels": None}


@pytest.fixture
def unchecked(monkeypatch):
    """Leave out the sandbox, which takes 0.2 s a file."""
    monkeypatch.setattr("distcnn.data.hdf5_file.check_in_sandbox", lambda path, *names: None)


# ---- files that change ----


def cut(path):
    os.truncate(path, path.stat().st_size - 200)


def other(path, images, labels=LABELS):
    """Write another file beside one, and return its path."""
    return write(path.with_name("other.h5"), ALONE | {"train/images": images, "train/labels": labels})


def lengthen(path):
    path.write_bytes(other(path, np.tile(IMAGES, (2, 1, 1, 1)), np.tile(LABELS, 2)).read_bytes())


def widen(path):
    path.write_bytes(other(path, np.tile(IMAGES, (1, 1, 2, 2))).read_bytes())


def exchange(path):
    os.replace(other(path, IMAGES[::-1]), path)


def before(change, path, monkeypatch, holder, name):
    """Let a file change before the first call of a function."""
    function, changes = getattr(holder, name), [change]

    def changed(*words):
        if changes:
            changes.pop()(path)
        return function(*words)

    monkeypatch.setattr(holder, name, changed)


def in_memory(path):
    return load(path, SerialComm(), mode=MEMORY)


def streamed(path):
    return load(path, SerialComm(), mode=STREAM)


def to_predict(path):
    return load_images(path, SerialComm(), "train")


def to_predict_streamed(path):
    return load_images(path, SerialComm(), "train", mode=STREAM)


def packed(path):
    pack(
        content_of_files([str(path)], dataset.Wanted()),
        path.with_name("out.h5"),
        Choices(processes=0),
        SerialComm(),
    )


READS = {
    # a way to use a file, and the function before which it changes
    "in memory": (in_memory, dataset, "read_split"),
    "labels in memory": (in_memory, reading, "fill_labels"),
    "streamed": (streamed, loading.StreamedImages, "of_parts"),
    "labels streamed": (streamed, dataset, "labels_of"),
    "to predict": (to_predict, images, "read_split"),
    "to predict streamed": (to_predict_streamed, images, "parts_of"),
    "packed": (packed, content, "read_stored"),
    "described": (in_memory, describe, "find_dataset"),
}


@pytest.mark.parametrize("change", [cut, lengthen, widen, exchange])
@pytest.mark.parametrize("name", READS)
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch, unchecked, name, change):
    use, holder, function = READS[name]
    path = write(tmp_path / "a.h5", ALONE)
    os.utime(path, (LONG_AGO, LONG_AGO))
    before(change, path, monkeypatch, holder, function)
    with pytest.raises(DataError, match=r"a\.h5.* (changed|truncated)") as caught:
        use(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.h5").exists()


# ---- sources of virtual datasets ----


def virtual(folder, count):
    """Write a virtual dataset of as many files, which each hold one image."""
    layout = h5py.VirtualLayout((count, 6, 5), "u1")
    for k in range(count):
        with h5py.File(folder / f"{k}.h5", "w") as file:
            file["x"] = np.full((1, 6, 5), 1 + k, np.uint8)
        layout[k] = h5py.VirtualSource(f"{k}.h5", "x", (1, 6, 5))[0]
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_virtual_dataset("images", layout)
        file["labels"] = np.arange(count) % 2
    return folder / "a.h5"


@pytest.fixture
def few_files():
    """Let this process open few files beside those that are open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 12, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


linux = pytest.mark.skipif(sys.platform != "linux", reason="counts files as Linux does")


@linux
def test_more_sources_than_files_may_be_open_are_read(tmp_path, unchecked, few_files):
    found = load(virtual(tmp_path, 30), SerialComm()).train.images
    np.testing.assert_array_equal(found[:, 0, 0, 0], np.arange(1, 31))


@linux
def test_sources_over_the_limit_of_open_files_are_refused(tmp_path, monkeypatch, unchecked, few_files):
    monkeypatch.setattr(reading, "allow", lambda more: None)  # as if the system did not let it
    with pytest.raises(
        DataError, match="more files are needed at a time than may be open here: raise"
    ) as caught:
        load(virtual(tmp_path, 30), SerialComm())
    assert "damaged" not in str(caught.value)


@linux
@pytest.mark.parametrize("allowed", [True, False])
def test_parts_over_the_limit_of_open_files(tmp_path, monkeypatch, unchecked, few_files, allowed):
    if not allowed:
        monkeypatch.setattr(source, "allow", lambda more: None)
    paths = [str(tmp_path / f"{k}.h5") for k in range(18)]
    for path in paths:
        with h5py.File(path, "w") as file:
            file["x"], file["y"] = IMAGES, LABELS
    if allowed:
        found = load(paths, SerialComm(), mode=STREAM).train.images
        np.testing.assert_array_equal(found[np.array([0, 215])], IMAGES[[0, 11]])
    else:
        with pytest.raises(DataError, match="more files are needed at a time than may be open here: raise"):
            load(paths, SerialComm(), mode=STREAM)


@pytest.mark.parametrize("change", [os.unlink, cut, lambda path: write(path, {"x": IMAGES[:1, 0] + 1})])
def test_a_source_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch, unchecked, change):
    path = virtual(tmp_path, 3)
    os.utime(tmp_path / "1.h5", (LONG_AGO, LONG_AGO))
    before(change, tmp_path / "1.h5", monkeypatch, h5py.Dataset, "__getitem__")
    with pytest.raises(DataError, match=r"1\.h5.* (has changed|does not exist)"):
        load(path, SerialComm())


# ---- text of excessive size ----


@pytest.mark.parametrize("kind", ["S5000", h5py.string_dtype()], ids=["fixed", "variable"])
def test_long_text_for_labels_is_refused(tmp_path, unchecked, kind):
    """Each comparison would make further copies of it."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = IMAGES
        file.create_dataset("y", (len(IMAGES),), kind)[:] = b"x" * 5000
    with pytest.raises(
        DataError, match=r"/y has labels of 5,000 bytes; at most 4,096 are read: store the names"
    ):
        load(tmp_path / "a.h5", SerialComm())


def test_text_of_the_largest_size_is_read(tmp_path, unchecked):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"], file["y"] = IMAGES, np.array([b"cat", b"dog"] * 6, "S4096")
    assert load(tmp_path / "a.h5", SerialComm()).classes == ("cat", "dog")


# ---- chunks that hold too little ----

SIZE = 4000  # bytes of a chunk, more than glibc keeps aside
ROW = np.random.default_rng(0).integers(0, 9, SIZE, np.uint8)
STORAGE = {
    "none": {},
    "gzip": {"compression": "gzip"},
    "shuffle": {"shuffle": True},
    "gzip and a checksum": {"compression": "gzip", "fletcher32": True},
    "lzf": {"compression": "lzf"},
}


def stored(path, size, storage):
    """Return a chunk of fewer values as HDF5 stores it."""
    with h5py.File(path, "w") as file:
        made = file.create_dataset("x", data=ROW[None, :size], chunks=(1, size), **storage)
        return made.id.read_direct_chunk((0, 0))[1]


def chunks_of(path, pieces, storage):
    """Write a dataset of two chunks; pieces: (filter mask, bytes) of each."""
    with h5py.File(path, "w") as file:
        made = file.create_dataset("images", (2, SIZE), "u1", chunks=(1, SIZE), **storage)
        for k, (mask, piece) in enumerate(pieces):
            made.id.write_direct_chunk((k, 0), piece, mask)
    return path


@linux
@pytest.mark.parametrize("name", STORAGE)
def test_a_chunk_that_holds_too_little_is_damaged(tmp_path, name):
    """HDF5 itself reads such a chunk without an error, and another time otherwise."""
    storage = STORAGE[name]
    whole, short = (stored(tmp_path / "b.h5", size, storage) for size in (SIZE, SIZE - 100))
    sandbox_probe.probe(str(chunks_of(tmp_path / "a.h5", [(0, whole)] * 2, storage)), "images")
    path = chunks_of(tmp_path / "a.h5", [(0, whole), (0, short)], storage)
    with h5py.File(path) as file:
        assert (file["images"][1, : SIZE - 100] == ROW[: SIZE - 100]).all()
    with pytest.raises((OSError, ValueError), match="a chunk h"):
        sandbox_probe.probe(str(path), "images")


@linux
def test_a_chunk_that_is_not_packed_and_too_short_is_damaged(tmp_path):
    storage = STORAGE["gzip"] | STORAGE["shuffle"]
    for mask in (3, 2):  # without both filters; with the shuffle alone
        path = chunks_of(tmp_path / "a.h5", [(mask, ROW.tobytes()), (mask, bytes(SIZE - 1))], storage)
        with pytest.raises(OSError, match="fewer values"):
            sandbox_probe.probe(str(path), "images")


def test_chunks_at_the_edge_may_be_unfiltered(tmp_path, monkeypatch):
    """As with H5Pset_chunk_opts, which h5py does not offer: chunks that lie partly outside are stored as they are."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        made = file.create_dataset("images", (3, SIZE), "u1", chunks=(2, SIZE), compression="gzip")
        made.id.write_direct_chunk((0, 0), zlib.compress(bytes(2 * SIZE)))
        made.id.write_direct_chunk((2, 0), bytes(2 * SIZE))
        chunk_checks.require_full(made)
        made.id.write_direct_chunk((2, 0), bytes(2 * SIZE - 1))
        with pytest.raises(ValueError, match="a chunk"):
            chunk_checks.require_full(made)


def test_such_a_file_ends_a_command_in_one_line(here):
    with h5py.File("a.h5", "w") as file:
        made = file.create_dataset(
            "train/images", (2, 1, 40, 100), "u1", chunks=(1, 1, 40, 100), compression="gzip"
        )
        for k, size in (0, SIZE), (1, SIZE - 100):
            made.id.write_direct_chunk((k, 0, 0, 0), zlib.compress(bytes(size)))
        file["train/labels"] = [0, 1]
    done = here("distcnn.data.__main__", "info", "a.h5")
    assert done.returncode == 2
    assert (
        "a.h5: truncated or damaged: copy it again or create it again (a chunk has 3900 bytes" in done.stderr
    )
    assert done.stderr.count("\n") == 1
