"""`distcnn.data pack`: whatever the source is, the same samples in good chunks, on any number of ranks, or nothing."""

import os
import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from distcnn.data import hdf5_file
from distcnn.data.dataset import load
from distcnn.data.describe import describe
from distcnn.data.importers import writer
from distcnn.data.importers.writer import Samples
from distcnn.data.packing import content, encoding, pack
from distcnn.data.packing.content import Content, MemoryRows
from distcnn.data.packing.encoding import Job, Storage, encode
from distcnn.data.packing.pack import Choices
from distcnn.data.packing.sources import content_of_files
from distcnn.data.wanted import Wanted
from distcnn.errors import DataError
from distcnn.parallel.serial import SerialComm
from tests.helpers import datasets, jobs, sources, terminals
from tests.helpers.streams import small_units

DATA = "distcnn.data.__main__"
N = 90
RANDOM = np.random.default_rng(0)
COLOR = RANDOM.integers(0, 256, (N, 8, 9, 3), np.uint8)
TEXT = np.array([b"sea", b"field", b"wood"])[np.arange(N) % 3]
LAYOUTS = {
    # images, options that the source needs, the type of the packed images
    "channels last": (COLOR, "", "u1"),
    "one channel": (COLOR[..., 0], "", "u1"),
    "big-endian floats": (COLOR.astype(">f4"), "", "<f4"),
    "doubles": (COLOR / 7, "", "<f8"),
    "16 bits": (COLOR.astype(">u2") * 257, "", "<u2"),
    "false and true": (COLOR > 127, "", "u1"),
    "flattened": (COLOR.reshape(N, -1), "--layout NHWC:8x9x3", "u1"),
    "samples last": (COLOR.transpose(1, 2, 3, 0), "--layout HWCN", "u1"),
}


@pytest.fixture(autouse=True)
def _small(monkeypatch, tmp_path):
    """Let units and pieces be small, notes lie in a folder of the test, and no other process look at its files."""
    monkeypatch.setattr(hdf5_file, "check_in_sandbox", lambda path, *names: None)
    small_units(monkeypatch)
    monkeypatch.setattr(pack, "PIECE", 3000)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)


def write(path, images, labels=TEXT, **storage):
    with h5py.File(path, "w") as file:
        file.create_dataset("x_train", data=images, **storage)
        file["y_train"] = labels


def samples(path, mode="memory", **wanted):
    """Return what training gets from a file."""
    data = load(str(path), SerialComm(), wanted=Wanted(**wanted), mode=mode)
    images = data.train.images
    return data, images if mode == "memory" else images[np.arange(len(images))]


OPTIONS = ("", "--gzip 5", "--gzip 1 --chunk 5000")


@pytest.mark.parametrize(
    ("layout", "options"), [(layout, OPTIONS[k % 3]) for k, layout in enumerate([*LAYOUTS, *LAYOUTS])][:11]
)
def test_a_packed_file_has_the_same_samples(here, layout, options):
    images, needed, dtype = LAYOUTS[layout]
    write("a.h5", images)
    done = here(DATA, "pack", "a.h5", "b.h5", *needed.split(), *options.split())
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith(f"wrote b.h5: {N} train images")
    axes = needed.split()[-1] if needed else None
    (before, old), (after, new) = samples("a.h5", layout=axes), samples("b.h5")
    np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(before.train.labels, after.train.labels)
    assert (before.fingerprint, before.classes, before.scale) == (
        after.fingerprint,
        after.classes,
        after.scale,
    )
    np.testing.assert_array_equal(samples("b.h5", "stream")[1], old)
    with h5py.File("b.h5") as file:
        found = file["train/images"]
        rows, *rest = found.chunks
        assert (found.dtype.str[-2:], rest) == (dtype[-2:], list(found.shape[1:]))
        assert rows & (rows - 1) == 0
        assert rows * found[0].nbytes <= (5000 if "--chunk" in options else max(1024, found[0].nbytes))
        assert found.compression == ("gzip" if options else None)


@pytest.mark.parametrize(
    ("labels", "task"),
    [(RANDOM.integers(0, 2, (N, 4)), "multilabel"), (RANDOM.normal(size=(N, 2)), "regress")],
)
def test_labels_of_every_task_stay_what_they_are(here, labels, task):
    write("a.h5", COLOR, labels)
    done = here(DATA, "pack", "a.h5", "b.h5", "--task", task)
    assert done.returncode == 0, done.stderr
    (before, _), (after, _) = samples("a.h5", task=task), samples("b.h5")
    assert after.task == before.task == task
    assert after.fingerprint == before.fingerprint
    assert np.array_equal(after.train.labels, before.train.labels)


def test_streaming_a_packed_file_is_streaming_a_contiguous_one(here):
    write("a.h5", COLOR.transpose(0, 3, 1, 2).copy())
    for name, *options in (("b.h5",), ("c.h5", "--gzip", 9)):
        assert here(DATA, "pack", "a.h5", name, *options).returncode == 0
        assert samples(name, "stream")[0].fingerprint == samples("a.h5", "stream")[0].fingerprint


def test_all_that_a_file_has_is_kept(here):
    """Splits, also those without labels, class names, the seal, and what prediction knows of pictures."""
    sources.make(Path())
    assert here(DATA, "import", "pets.zip", "pets.h5", "--size", "8x8").returncode == 0
    with h5py.File("pets.h5", "r+") as file:
        file["validation/images"] = file["train/images"][:7]
    assert here(DATA, "pack", "pets.h5", "packed.h5", "--gzip", 4).returncode == 0
    with h5py.File("pets.h5") as old, h5py.File("packed.h5") as new:
        names = []
        old.visit(names.append)
        for name in names:
            assert dict(old[name].attrs) == dict(new[name].attrs)
            assert isinstance(new[name], h5py.Group) or np.array_equal(old[name][()], new[name][()])
        assert [*old.attrs] == [*new.attrs] == ["classes", "decoder", "pictures"]
        assert "seal" in new["train"].attrs
    lines = [here(DATA, "info", name).stdout.splitlines() for name in ("pets.h5", "packed.h5")]
    assert [line for line in lines[1] if not {"uint8", "int32", "bytes"} & {*line.split()}] == [
        line for line in lines[0] if not {"uint8", "int32", "bytes"} & {*line.split()}
    ]
    words = "distcnn.train", "--model", "mlp", "--max-steps", 2, "--batch-size", 16, "--out"
    for mode in ("memory", "stream"):
        runs = [
            here(*words, f"{mode}-{name}", "--data", name, "--data-mode", mode)
            for name in ("pets.h5", "packed.h5")
        ]
        digests = [done.stdout.splitlines()[-1] for done in runs]
        assert digests[0] == digests[1] != ""
        assert digests[0].startswith("weights_sha256")


def test_damage_after_packing_is_found_by_the_seal(here):
    sources.make(Path())
    here(DATA, "import", "mnist", "a.h5")
    assert here(DATA, "pack", "a.h5", "b.h5").returncode == 0
    with h5py.File("b.h5", "r+") as file:
        file["train/images"][3, 0, 4, 4] ^= 1
    done = here("distcnn.train", "--data", "b.h5", "--max-steps", 1)
    assert (done.returncode, "have changed since the file was sealed" in done.stderr) == (2, True)


def test_a_sealed_file_whose_labels_are_mapped_is_packed_without_its_seal(here):
    """The seal holds for the classes of the file, of which mapping leaves one out here that has no samples."""
    pair = np.zeros((6, 1, 4, 4), np.uint8), np.array([0, 2, 2, 0, 2, 0], np.int32)
    writer.write("a.h5", Samples({"train": pair}, ("cat", "dog", "eel")))
    assert samples("a.h5")[0].description.seal
    assert len(samples("a.h5", map_labels=True)[0].classes) == 2
    assert here(DATA, "pack", "a.h5", "b.h5", "--map-labels").returncode == 0
    data, _ = samples("b.h5")
    assert (len(data.classes), data.description.seal) == (2, None)


@pytest.mark.parametrize(
    "source", ["mnist", "pets.zip", "arrays.npz", "cifar-10-binary.tar.gz", "encoded.h5"]
)
def test_sources_of_an_import_are_packed_as_they_are_imported(here, source):
    sources.make(Path())
    if source == "encoded.h5":
        picture = np.frombuffer(Path("photo.png").read_bytes(), np.uint8)
        with h5py.File(source, "w") as file:
            images = file.create_dataset("images", 4, h5py.vlen_dtype(np.uint8))
            images[...] = [picture] * 4
            file["labels"] = [0, 1, 1, 0]
    options = ["--size", "12x16", "--gray"] if source == "pets.zip" else []
    for verb in ("import", "pack"):
        done = here(DATA, verb, source, f"{verb}.h5", *options)
        assert done.returncode == 0, done.stderr
    (old, _), (new, _) = samples("import.h5"), samples("pack.h5")
    assert (old.fingerprint, old.classes, old.pictures) == (new.fingerprint, new.classes, new.pictures)
    assert old.description.seal == new.description.seal


@pytest.mark.mpi(ranks=(3,))  # and one, with which they are compared
@pytest.mark.parametrize("options", ["", "--gzip 3"])
def test_any_number_of_ranks_writes_the_same_bytes(call, comm, options):
    if comm.rank == 0:
        write("a-1.h5", COLOR.astype(np.float32), chunks=(7, 8, 4, 3))
        write("a-2.h5", COLOR[:50] / np.float32(3), TEXT[:50], compression="lzf")
    done = call(DATA, "pack", "a-*.h5", "b.h5", *options.split())
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote b.h5: 140 train images") == 1
    if comm.rank == 0:
        data, images = samples("b.h5")
        wanted = np.concatenate([COLOR, COLOR[:50] / np.float32(3)]).transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(images, wanted.astype(np.float32))
        assert data.classes == ("field", "sea", "wood")
        level = 3 if options else 0
        pack.pack(content_of_files(["a-*.h5"], Wanted()), "c.h5", Choices(level, processes=2), SerialComm())
        assert Path("b.h5").read_bytes() == Path("c.h5").read_bytes()
    comm.Barrier()


@pytest.mark.mpi(ranks=(3,))
def test_a_source_with_a_bad_pixel_leaves_nothing(call, comm):
    if comm.rank == 0:
        Path("out.h5").write_text("precious")
        images = np.float32(COLOR)
        images[-1, 2, 3, 1] = np.nan
        write("a.h5", images)
    done = call(DATA, "pack", "a.h5", "out.h5", "--force")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"/x_train[{N - 1}] has a pixel that is nan; wanted finite numbers" in done.stderr
    assert Path("out.h5").read_text() == "precious"
    assert not list(Path().glob(".out.h5*"))


KILL = """
import os, signal, sys
from distcnn.data import __main__
from distcnn.data.packing import pack
from distcnn.parallel import world

encode, calls = pack.encode, []


def dying(job):
    calls.append(job)
    if len(calls) == 4 and RANK == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    return encode(job)


RANK = os.environ.get("PMI_RANK") or os.environ["OMPI_COMM_WORLD_RANK"]
pack.PIECE, pack.encode = 3000, dying
sys.argv = ["data", "pack", "a.h5", "out.h5", "--force", "--chunk", "500"]
world.run(__main__.main)
"""


@pytest.mark.mpirun
def test_a_killed_rank_leaves_what_was_there(mpirun, tmp_path):
    write(tmp_path / "a.h5", COLOR)
    (tmp_path / "out.h5").write_text("precious")
    assert mpirun(2, "python", "-c", KILL, cwd=tmp_path).returncode != 0
    assert (tmp_path / "out.h5").read_text() == "precious"


def test_a_source_that_changes_meanwhile_is_refused(here, monkeypatch):
    write("a.h5", COLOR)

    def touching(job):
        os.utime("a.h5")
        return encode(job)

    monkeypatch.setattr(pack, "encode", touching)
    done = here(DATA, "pack", "a.h5", "b.h5")
    assert (done.returncode, Path("b.h5").exists()) == (2, False)
    assert "has changed while it was packed" in done.stderr


def crash(job):
    """Take the place of `encode` in a process."""
    os.abort()


def test_a_crash_of_a_process_is_one_line(here, monkeypatch):
    write("a.h5", COLOR)
    monkeypatch.setattr(pack, "encode", crash)
    done = here(DATA, "pack", "a.h5", "b.h5", "--processes", 2)
    assert (done.returncode, Path("b.h5").exists(), done.stderr.count("\n")) == (2, False, 1)
    assert "crashes HDF5, or takes too long (SIGABRT)" in done.stderr


REFUSED = {
    "a file that exists": (
        "data.h5 out.h5",
        "already exists: choose another name, or replace it with --force",
    ),
    "no source": ("nowhere.h5 fresh.h5", "does not exist; wanted an HDF5 file"),
    "no match": ("part-*.h5 fresh.h5", "no file matches part-*.h5"),
    "a level": ("data.h5 fresh.h5 --gzip 10", "'10' is not valid; wanted a whole number from 1 to 9"),
    "a chunk": ("data.h5 fresh.h5 --chunk 0", "'0' is not valid; wanted a whole number from 1 to 67,108,864"),
    "an option of an import": ("data.h5 fresh.h5 --size 8x8", "--size is an option of an import"),
    "a source beside files": ("data.h5 mnist fresh.h5", "mnist is not an HDF5 file"),
    "arrays of an import": (
        "arrays.npz fresh.h5 --test-images x_test",
        "--test-images x_test: arrays.npz is a source",
    ),
    "an open question": ("bands.h5 fresh.h5", "--layout"),
    "no folder": ("data.h5 nowhere/fresh.h5", "cannot be written"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_packed_is_refused_in_one_line(here, name):
    words, message = REFUSED[name]
    sources.make(Path())
    datasets.write("data.h5")
    Path("out.h5").write_text("precious")
    write("bands.h5", RANDOM.integers(0, 9, (N, 16, 16, 13), np.uint8))
    done = here(DATA, "pack", *words.split())
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert message in done.stderr
    assert (Path("out.h5").read_text(), Path("fresh.h5").exists()) == ("precious", False)


def test_a_file_can_be_packed_in_its_place(here):
    datasets.write("data.h5")
    before = samples("data.h5")[0].fingerprint
    assert here(DATA, "pack", "data.h5", "data.h5", "--force", "--gzip", 4).returncode == 0
    assert samples("data.h5")[0].fingerprint == before
    with h5py.File("data.h5") as file:
        assert file["train/images"].compression == "gzip"


@pytest.mark.parametrize("dtype", ["u1", "<u2", "<f4", "<f8"])
@pytest.mark.parametrize("level", [0, 1, 9])
def test_hdf5_reads_the_chunks_that_are_encoded_without_it(tmp_path, dtype, level):
    images = RANDOM.integers(0, 9, (11, 2, 5, 3)).astype(dtype)
    rows = MemoryRows(images)
    packed = Content({"train": (rows, lambda: np.zeros(11, np.int32))}, None)
    size = 4 * images[0].nbytes + 1
    pack.pack(packed, tmp_path / "a.h5", Choices(level, size), SerialComm())
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["train/images"].chunks[0] == 4
        np.testing.assert_array_equal(file["train/images"][()], images)


def test_images_larger_than_a_chunk_are_chunks(monkeypatch):
    rows = MemoryRows(np.zeros((5, 1, 40, 40), np.uint8))
    assert [Storage.of(rows, size, 0).rows for size in (None, 1, 1600, 3199, 3200, 10**9)] == [
        1,
        1,
        1,
        1,
        2,
        4,
    ]
    found = encode(Job(next(rows.pieces(3)), Storage(2, 0)))
    assert [len(chunk) for chunk in found] == [3200, 3200]
    assert encoding.PIECE == 2**24


def test_memory_does_not_depend_on_the_size(tmp_path):
    """Few pieces are read before they are written."""
    held, most = [0], []

    class Rows(MemoryRows):
        def pieces(self, step):
            for piece in super().pieces(step):
                held[0] += len(piece.images)
                most.append(held[0])
                yield piece

    def written(count):
        held[0] -= count

    rows = Rows(np.zeros((5000, 1, 10, 10), np.uint8))
    packed = Content({"train": (rows, None)}, None)
    for processes in (0, 2):
        most.clear()
        pack.pack(packed, tmp_path / "a.h5", Choices(processes=processes), SerialComm(), written)
        assert max(most) <= 7 * 30


def test_the_readers_of_content_agree_on_rows_of_several_files(tmp_path):
    for k, n in enumerate((5, 1, 9)):
        write(tmp_path / f"{k}.h5", COLOR[:n], TEXT[:n])
    arrays = describe(tuple(str(tmp_path / f"{k}.h5") for k in range(3))).splits["train"].images
    rows = content.FileRows(arrays)
    wanted = np.concatenate([COLOR[:5], COLOR[:1], COLOR[:9]]).transpose(0, 3, 1, 2)
    for step in (1, 4, 6, 15, 99):
        found = [piece.read() for piece in rows.pieces(step)]
        assert [len(each) for each in found[:-1]] == [step] * (len(found) - 1)
        np.testing.assert_array_equal(np.concatenate(found), wanted)


def test_an_error_names_the_file(tmp_path):
    images = np.ones((N, 3, 8, 9))
    images[2] = 1e300
    write(tmp_path / "a.h5", images)
    found = content_of_files([str(tmp_path / "a.h5")], Wanted())
    with pytest.raises(DataError, match=r"a\.h5: /x_train\[2\] has a pixel that is inf"):
        pack.pack(found, tmp_path / "b.h5", Choices(), SerialComm())


def test_more_names_of_classes_than_an_attribute_of_the_first_format_holds(here):
    """An attribute of HDF5's first format has 64 KiB."""
    names = [f"class {k}" for k in range(5000)]
    np.savez("a.npz", images=np.zeros((5000, 4, 4), np.uint8), labels=np.array(names))
    for verb, source, out in (
        ("import", "a.npz", "a.h5"),
        ("pack", "a.h5", "b.h5"),
        ("pack", "a.npz", "c.h5"),
    ):
        done = here(DATA, verb, source, out)
        assert done.returncode == 0, done.stderr
        assert sorted(samples(out)[0].classes) == sorted(names)


FULL = """
import resource, sys
from distcnn.data import __main__
from distcnn.parallel import world
sys.dont_write_bytecode = True  # or what Python compiles from here on is cut, and found by other tests
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
sys.argv = ["data", "pack", "a.h5", "b.h5", "--chunk", "500"]
world.run(__main__.main)
"""


def test_a_full_disk_is_one_line(run, tmp_path):
    write(tmp_path / "a.h5", COLOR)
    done = run("python", "-c", FULL, cwd=tmp_path, env={"MPI4PY_LIBMPI": "/nowhere"})  # MPI writes files, too
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "b.h5: cannot be written" in done.stderr
    assert [path.name for path in tmp_path.iterdir() if "b.h5" in path.name] == []


@pytest.mark.mpirun
def test_a_terminal_shows_progress_under_mpirun(tmp_path):
    write(tmp_path / "a.h5", COLOR)
    with terminals.Terminal() as terminal:
        command = jobs.launcher(), "-n", 2, "python", "-m", "distcnn.data", "pack", "a.h5", "b.h5"
        assert terminal.run(*command, cwd=tmp_path, env=jobs.OPEN_MPI) == 0
    assert re.search(rf"packing:   0%\| *\| 0/{N}", terminal.written)
    assert "wrote b.h5" in terminal.written
