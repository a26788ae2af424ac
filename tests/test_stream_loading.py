"""A streamed dataset: labels, splits, statistics, fingerprint, and the notes that save the next run a pass."""

import shutil

import h5py
import numpy as np
import pytest

from distcnn.data import schema
from distcnn.data.dataset import load
from distcnn.data.fingerprint import seal
from distcnn.data.images import load_images
from distcnn.data.info import report
from distcnn.data.show import sheet
from distcnn.data.statistics import channel_statistics
from distcnn.data.stream import notes
from distcnn.data.stream.images import StreamedImages
from distcnn.data.stream.source import Part, Source
from distcnn.data.stream.survey import survey
from distcnn.errors import DataError
from distcnn.parallel.serial import SerialComm
from distcnn.system import cache_dir
from tests.helpers.streams import SHAPE, STORAGE, numbered, small_units, write

STREAM = "stream"


@pytest.fixture(autouse=True)
def _small(monkeypatch, tmp_path):
    """Let units be small, notes lie in a folder of the test, and files not be checked first, which takes 0.2 s each."""
    monkeypatch.setattr("distcnn.data.hdf5_file.check_in_sandbox", lambda path, *names: None)
    small_units(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)


def streamed(path, validation=0.0, seed=0, comm=None):
    return load(path, comm or SerialComm(), validation, seed, mode=STREAM)


def rows(images):
    return images[np.arange(len(images))]


@pytest.fixture
def old(monkeypatch):
    """Let no file count as changed just now: its change time cannot be set."""
    monkeypatch.setattr("distcnn.data.stream.notes.YOUNG", -1e9)


@pytest.mark.parametrize("dtype", ["uint8", "float32", ">f4"])
@pytest.mark.parametrize("storage", STORAGE)
def test_the_same_samples_as_in_memory(tmp_path, storage, dtype):
    path = write(tmp_path / "a.h5", storage, train=300, dtype=dtype)
    found, wanted = streamed(path), load(path, SerialComm())
    assert (found.mode, wanted.mode) == ("stream", "memory")
    assert (found.name, found.classes, found.validation) == (wanted.name, wanted.classes, None)
    for ours, theirs in ((found.train, wanted.train), (found.test, wanted.test)):
        assert isinstance(ours.images, StreamedImages)
        assert (ours.images.shape, ours.images.dtype) == (theirs.images.shape, theirs.images.dtype)
        np.testing.assert_array_equal(rows(ours.images), theirs.images)
        np.testing.assert_array_equal(ours.labels, theirs.labels)
        assert ours.labels.dtype == np.int32


def test_images_without_channels_and_without_a_test_split(tmp_path):
    images, labels = numbered(50, SHAPE[1:])
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["train/images"], file["train/labels"] = images, labels
    found = streamed(tmp_path / "a.h5")
    assert found.test is None
    np.testing.assert_array_equal(rows(found.train.images)[:, 0], images)


@pytest.mark.parametrize("storage", STORAGE)
def test_copies_have_one_fingerprint_while_units_are_the_same(tmp_path, storage):
    wanted = streamed(write(tmp_path / "a.h5")).fingerprint
    assert streamed(write(tmp_path / "b.h5", storage)).fingerprint == wanted
    assert streamed(write(tmp_path / "c.h5", storage, chunks=(9, *SHAPE))).fingerprint != wanted


@pytest.mark.parametrize("name", ["train/images", "train/labels", "test/images", "test/labels"])
def test_every_value_is_in_the_fingerprint(tmp_path, name):
    wanted = streamed(write(tmp_path / "a.h5")).fingerprint
    with h5py.File(write(tmp_path / "b.h5"), "r+") as file:
        last = file[name][-1]
        file[name][-1] = (last + 1) % 10
    assert streamed(tmp_path / "b.h5").fingerprint != wanted


def test_statistics_of_bytes_are_those_of_memory_mode(tmp_path):
    path = write(tmp_path / "a.h5")
    mean, std = streamed(path).statistics
    wanted = channel_statistics(load(path, SerialComm()).train.images)
    assert (mean.tolist(), std.tolist()) == tuple(each.tolist() for each in wanted)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("validation", [0.0, 0.13, 0.5])
def test_statistics_are_of_the_training_split_alone(tmp_path, dtype, validation):
    found = streamed(write(tmp_path / "a.h5", dtype=dtype), validation, 4)
    images = rows(found.train.images).astype(np.float64)
    for mine, wanted in zip(found.statistics, (images.mean(), images.std()), strict=True):
        np.testing.assert_allclose(mine, [wanted], rtol=1e-12)


def test_a_constant_channel(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["train/images"] = np.full((100, *SHAPE), 7, np.float32)
        file["train/labels"] = np.arange(100) % 2
    mean, std = streamed(tmp_path / "a.h5").statistics
    assert (mean.tolist(), std.tolist()) == ([7.0], [1.0])


def test_training_and_validation_share_no_sample_and_miss_none(tmp_path):
    path = write(tmp_path / "a.h5")
    found, whole = streamed(path, 0.23, 9), streamed(path)
    assert len(found.validation.labels) == round(0.23 * len(whole.train.labels))
    assert found.fingerprint == whole.fingerprint
    images, labels = numbered(len(whole.train.labels))
    known = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    seen = [
        (image.tobytes(), label)
        for split in (found.train, found.validation)
        for image, label in zip(rows(split.images), split.labels, strict=True)
    ]
    assert dict(seen) == known
    assert len(seen) == len(known)
    for split in (found.train, found.validation):
        np.testing.assert_array_equal(rows(split.images), images[split.rows()])
    assert whole.train.rows is None


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("train/images", np.nan, "/train/images[1499] has a pixel that is nan; wanted finite numbers"),
        ("test/images", np.inf, "/test/images[99] has a pixel that is inf"),
        ("train/labels", -1, "/train/labels[1499] is -1; wanted 0 to"),
    ],
)
def test_bad_values_are_found(tmp_path, name, value, wanted):
    with h5py.File(write(tmp_path / "a.h5", dtype="float32"), "r+") as file:
        file[name][-1] = value
    with pytest.raises(DataError) as found:
        streamed(tmp_path / "a.h5")
    assert wanted in str(found.value)


def test_a_seal_that_does_not_fit(tmp_path):
    path = write(tmp_path / "a.h5")
    wanted = seal(load(path, SerialComm()).fingerprint, None)
    with h5py.File(path, "r+") as file:
        file["train"].attrs["seal"] = wanted
    assert streamed(path)
    with h5py.File(path, "r+") as file:
        file["test/images"][3] += 1
    with pytest.raises(DataError, match="have changed since the file was sealed"):
        streamed(path)


def test_large_files_are_streamed_unless_told_otherwise(tmp_path, monkeypatch):
    path = write(tmp_path / "a.h5")
    assert load(path, SerialComm()).mode == "memory"
    monkeypatch.setattr(schema, "MEMORY_LIMIT", 1600 * 144 - 1)
    assert load(path, SerialComm()).mode == "stream"
    assert load(path, SerialComm(), mode="memory").mode == "memory"
    monkeypatch.setattr(schema, "MEMORY_LIMIT", 1600 * 144)
    assert load(path, SerialComm()).mode == "memory"


def test_images_to_predict_are_streamed(tmp_path, monkeypatch):
    path = write(tmp_path / "a.h5", dtype="float32")
    memory = load_images(path, SerialComm())
    for found in (load_images(path, SerialComm(), mode=STREAM), _of_large(path, monkeypatch)):
        assert isinstance(found.images, StreamedImages)
        np.testing.assert_array_equal(rows(found.images), memory.images)
        np.testing.assert_array_equal(found.labels, memory.labels)
    with h5py.File(tmp_path / "bare.h5", "w") as file:
        file["images"] = memory.images
        file["images"][7, 0, 1, 1] = np.nan
    with pytest.raises(DataError, match=r"/images\[7\] has a pixel that is nan"):
        load_images(tmp_path / "bare.h5", SerialComm(), mode=STREAM)


def _of_large(path, monkeypatch):
    monkeypatch.setattr(schema, "MEMORY_LIMIT", 100)
    return load_images(path, SerialComm(), "test", mode="memory")


def test_samples_are_shown(tmp_path, monkeypatch):
    path = write(tmp_path / "a.h5")
    wanted = sheet(path, "shift=1")
    monkeypatch.setattr(schema, "MEMORY_LIMIT", 100)
    assert sheet(path, "shift=1") == wanted


def test_info_on_a_large_file(tmp_path, monkeypatch):
    path = write(tmp_path / "a.h5")
    monkeypatch.setattr(schema, "MEMORY_LIMIT", 100)
    found = report([path])
    assert found.wrong == []
    assert found.lines[-1].split() == ["fingerprint", streamed(path).fingerprint]


def test_some_rows_of_a_dataset(tmp_path):
    """Units follow the chunks, wherever the rows begin."""
    images, _ = numbered(100)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=images, chunks=(8, *SHAPE), compression="gzip")
    parts = [Part(tmp_path / "a.h5", "x", start=61), Part(tmp_path / "a.h5", "x", start=3, stop=20)]
    found = StreamedImages.of_parts(parts, SHAPE, images.dtype)
    np.testing.assert_array_equal(rows(found), np.concatenate([images[61:], images[3:20]]))
    assert found.units.size.tolist() == [3, 8, 8, 8, 8, 4, 5, 8, 4]
    before = found.source.bytes_read
    list(found.in_order())
    with h5py.File(tmp_path / "a.h5", locking=False) as file:
        sizes = [file["x"].id.get_chunk_info(k).size for k in range(13)]
    assert found.source.bytes_read - before == sum(sizes[7:]) + sum(sizes[:3])


def test_several_files_are_one_split(tmp_path):
    """With a conversion, as for images that lie with channels last."""
    images = np.random.default_rng(0).integers(0, 255, (90, 5, 4, 3)).astype("u1")
    parts = []
    for k, some in enumerate(np.split(images, [20, 50])):
        with h5py.File(tmp_path / f"{k}.h5", "w") as file:
            file.create_dataset("x", data=some, chunks=(k + 1, 5, 4, 3), compression="gzip")
        parts.append(Part(tmp_path / f"{k}.h5", "x", convert=lambda stored: stored.transpose(0, 3, 1, 2)))
    source = Source(parts, (3, 5, 4), np.dtype("float32"))
    found = StreamedImages(source, source.units)
    assert {20, 50} <= set(source.units.start.tolist())
    np.testing.assert_array_equal(rows(found), images.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(np.concatenate([each.copy() for each in found.in_order()]), rows(found))


# ---- notes ----


def passes(monkeypatch):
    """Return a list to which each pass over a split adds something."""
    calls = []
    work = survey.__globals__["_survey_of"]
    monkeypatch.setitem(survey.__globals__, "_survey_of", lambda *args: [calls.append(1), work(*args)][1])
    return calls


def summary(data):
    return data.fingerprint, *(each.tolist() for each in data.statistics)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_next_run_needs_no_pass(tmp_path, monkeypatch, old, dtype):
    path, calls = write(tmp_path / "a.h5", dtype=dtype), passes(monkeypatch)
    first = summary(streamed(path))
    assert len(calls) == 2
    assert summary(streamed(path)) == first
    assert summary(streamed(path, 0.1))[0] == first[0]
    assert len(calls) == 2
    with h5py.File(path, "r+") as file:
        file["train/images"][5] += 1
    assert summary(streamed(path)) != first
    assert len(calls) == 4


def test_a_file_that_has_just_changed_gets_no_note(tmp_path, monkeypatch):
    monkeypatch.setattr("distcnn.data.stream.notes.YOUNG", 1e9)
    path, calls = write(tmp_path / "a.h5"), passes(monkeypatch)
    streamed(path)
    streamed(path)
    assert len(calls) == 4


@pytest.mark.parametrize("fault", ["bit", "cut", "empty", "folder"])
def test_a_damaged_note_changes_nothing(tmp_path, monkeypatch, capsys, old, fault):
    path = write(tmp_path / "a.h5")
    first = summary(streamed(path))
    folder = cache_dir.folder(notes.FOLDER)
    files = [each for each in folder.iterdir() if each.stat().st_size > 100]
    assert files
    for each in files:
        content = each.read_bytes()
        each.unlink()
        if fault == "folder":
            each.mkdir()
        else:
            middle = len(content) // 2
            damaged = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
            each.write_bytes({"bit": damaged, "cut": content[:middle], "empty": b""}[fault])
    calls = passes(monkeypatch)
    assert summary(streamed(path)) == first
    assert len(calls) == 2
    assert str(folder) in capsys.readouterr().err
    assert summary(streamed(path)) == first


def test_a_note_that_cannot_be_written(tmp_path, monkeypatch, capsys, old):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("distcnn.system.checked_file.write", full)
    path = write(tmp_path / "a.h5")
    first = summary(streamed(path))
    said = capsys.readouterr().err
    assert f"{cache_dir.folder(notes.FOLDER)}: cannot be written (No space left on device)" in said
    assert summary(streamed(path)) == first


def test_without_a_folder_for_notes(tmp_path, monkeypatch, old):
    monkeypatch.setattr(cache_dir, "folder", lambda name: None)
    path = write(tmp_path / "a.h5")
    assert summary(streamed(path)) == summary(streamed(shutil.copy(path, tmp_path / "b.h5")))


@pytest.mark.mpi
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_ranks_share_the_pass(comm, shared_path, dtype):
    if comm.rank == 0:
        write(shared_path / "a.h5", "gzip", dtype=dtype)
    comm.Barrier()
    together = streamed(shared_path / "a.h5", 0.2, comm=comm)
    alone = streamed(shared_path / "a.h5", 0.2)
    assert summary(together) == summary(alone)
    np.testing.assert_array_equal(together.train.labels, alone.train.labels)
    np.testing.assert_array_equal(together.validation.labels, alone.validation.labels)


@pytest.mark.mpi
def test_all_ranks_get_the_error_of_one(comm, shared_path):
    if comm.rank == 0:
        with h5py.File(write(shared_path / "a.h5", dtype="float32"), "r+") as file:
            file["train/images"][-1] = np.nan
    comm.Barrier()
    with pytest.raises(DataError, match=r"\[1499\] has a pixel that is nan"):
        streamed(shared_path / "a.h5", comm=comm)
