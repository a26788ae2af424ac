"""Sources from strangers end soon, in a line that says what is wrong: no bomb, pipe, device or endless loop."""

import gzip
import io
import os
import signal
import struct
import tarfile
import zipfile

import pytest

from distcnn.data.importers import archive, idx
from distcnn.data.importers.sources import read_source
from distcnn.data.importers.writer import Samples, write
from distcnn.errors import DataError, OutputError
from distcnn.run.metrics_log import Metrics
from distcnn.system import job_status
from distcnn.system.regular_files import open_regular
from tests.helpers.idx import IMAGES, LABELS, MNIST, folder

SECONDS = 120  # a busy machine may take long


@pytest.fixture(autouse=True)
def end():
    """Fail a test that hangs."""

    def fail(number, frame):
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def refused(path, words):
    with pytest.raises(DataError, match=words) as caught:
        read_source(path)
    assert "\n" not in str(caught.value)
    assert "damaged" not in str(caught.value)


# ---- tar ----


def header(name, size, kind=tarfile.REGTYPE):
    """Return a tar header with a size of any sign."""
    info = tarfile.TarInfo(name)
    info.type = kind
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = tarfile.itn(size, 12, tarfile.GNU_FORMAT)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block[:512])
    return bytes(block)


@pytest.mark.parametrize("size", [-1, -511, -512, -1024, -(2**40)])
@pytest.mark.parametrize(
    "kind", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.DIRTYPE]
)
def test_sizes_below_zero_do_not_loop(tmp_path, size, kind):
    whole = header("train/a/x.png", 0) + header("train/b/x.png", size, kind) + bytes(1024)
    (tmp_path / "x.tar").write_bytes(whole)
    with pytest.raises(DataError):
        read_source(tmp_path / "x.tar")


def test_sizes_below_zero_of_extended_headers_do_not_loop(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as file:
        info = tarfile.TarInfo("train/a/x.png")
        info.pax_headers = {"size": "-1024"}
        file.addfile(info)
    refused(tmp_path / "x.tar", "cannot be read")


@pytest.mark.parametrize("pieces", [[(0, -512), (0, 4)], [(600, 4), (0, 4)], [(0, 2**50)], [(-8, 4)]])
def test_sparse_files_with_false_pieces_do_not_loop(tmp_path, pieces):
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as file:
        info = tarfile.TarInfo("train/a/x.png")
        info.size, plan = 1024, ",".join(f"{offset},{size}" for offset, size in pieces)
        info.pax_headers = {"GNU.sparse.map": plan, "GNU.sparse.size": "1024", "GNU.sparse.numblocks": "2"}
        file.addfile(info, io.BytesIO(bytes(1024)))
    refused(tmp_path / "x.tar", "cannot be read")


def test_a_name_that_is_not_utf8_is_refused(tmp_path, run):
    images = {f"train/{name}/x.png": None for name in ("a\udcff", "b")}
    with tarfile.open(tmp_path / "x.tar", "w") as file:
        for name in images:
            content = picture()
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    done = run("python", "-m", "distcnn.data", "import", tmp_path / "x.tar", tmp_path / "x.h5")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "has a name that is not text in UTF-8: rename its folder" in done.stderr
    assert not (tmp_path / "x.h5").exists()


@pytest.mark.parametrize("name", ["a\0b", "\udcff"])
def test_classes_that_hdf5_cannot_hold_are_refused(tmp_path, name):
    samples = Samples({"train": (IMAGES[:, None], LABELS)}, (name, *"bcde"))
    with pytest.raises(DataError, match="not text in UTF-8"):
        write(tmp_path / "x.h5", samples)
    assert list(tmp_path.iterdir()) == []


# ---- zip ----


def test_a_member_without_a_name_is_ignored(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("train/a/x.png", picture())
        file.writestr("n", b"")
    content = (tmp_path / "x.zip").read_bytes()
    begin = content.rindex(b"PK\1\2")
    length = begin + 28
    content = bytearray(content[: begin + 46] + content[begin + 47 :])
    content[length : length + 2] = struct.pack("<H", 0)
    end = content.rindex(b"PK\5\6")
    content[end + 12 : end + 16] = struct.pack("<I", struct.unpack("<I", content[end + 12 : end + 16])[0] - 1)
    (tmp_path / "x.zip").write_bytes(content)
    assert read_source(tmp_path / "x.zip").classes == ("a",)


def test_any_exception_of_an_archive_is_a_line(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("train/a/x.png", picture())

    def broken(*words):
        raise struct.error("unpack requires a buffer of 30 bytes")

    monkeypatch.setattr(zipfile.ZipFile, "open", broken)
    refused(tmp_path / "x.zip", "cannot be read")


# ---- what swells ----


def picture():
    from PIL import Image

    file = io.BytesIO()
    Image.new("L", (4, 4)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("packing", ["tar.xz", "tar.gz", "tar.bz2", "zip"])
@pytest.mark.parametrize("ours", [True, False])
def test_an_archive_has_a_limit_for_all_that_it_unpacks_to(tmp_path, monkeypatch, packing, ours):
    monkeypatch.setattr(archive, "TOTAL", 2**20)
    path, size = tmp_path / f"x.{packing}", 2**19
    names = [f"data_batch_{k}.bin" if ours else f"{k}.txt" for k in range(1, 9)]
    if packing == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name in names:
                file.writestr(name, bytes(size))
        if not ours:
            return refused(path, "but none of a known format")  # nothing else is unpacked
    else:
        with tarfile.open(path, f"w:{packing[4:]}") as file:
            for name in names:
                info = tarfile.TarInfo(name)
                info.size = size
                file.addfile(info, io.BytesIO(bytes(size)))
    refused(path, "it unpacks to . MiB or more, and 1 MiB is the limit for an archive of its size")


def test_the_limit_grows_with_the_archive():
    assert archive.unpacked_limit(0) == 2**28
    assert archive.unpacked_limit(2**30) == 2**36


def test_a_packed_idx_file_has_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "TOTAL", 2**20)
    path = folder(tmp_path / "a") / MNIST[0]
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 3]) + bytes(2**22)))
    refused(tmp_path / "a", "unpacks to more than 1 MiB, the limit for a file of its size")


def test_idx_files_have_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(idx, "MEMORY_LIMIT", 2**20)
    path = folder(tmp_path / "a") / MNIST[0]
    with open(path, "r+b") as file:
        file.truncate(2**21)
    refused(tmp_path / "a", "has more than 1 MiB, the limit")


# ---- what is not a regular file ----


def fifo(path):
    os.mkfifo(path)


def zero(path):
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [fifo, zero])
def test_sources_are_regular_files(tmp_path, make):
    make(tmp_path / "x.tar")
    refused(tmp_path / "x.tar", "a pipe or a device, not a regular file")
    path = folder(tmp_path / "a") / MNIST[0]
    path.unlink()
    make(path)
    refused(tmp_path / "a", "a pipe or a device, not a regular file")
    (tmp_path / "b/train/c").mkdir(parents=True)
    (tmp_path / "b/train/c/x.png").write_bytes(picture())
    make(tmp_path / "b/train/c/y.png")
    refused(tmp_path / "b", "y.png cannot be read .a pipe or a device, not a regular file.: take it out")


@pytest.mark.parametrize("make", [fifo, zero, lambda path: path.write_bytes(b" " * (2**20 + 1))])
@pytest.mark.parametrize("command", ["train", "launch"])
def test_a_config_file_is_regular_and_small(tmp_path, run, make, command):
    make(tmp_path / "x.toml")
    words = ["-n", 1, "--"] if command == "launch" else []
    done = run("python", "-m", f"distcnn.{command}", *words, "--config", tmp_path / "x.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "a pipe or a device" in done.stderr or "larger than 1 MiB" in done.stderr


@pytest.mark.parametrize("make", [fifo, zero])
def test_metrics_are_a_regular_file(tmp_path, make):
    make(tmp_path / "metrics.jsonl")
    with pytest.raises(OutputError, match="a pipe or a device"):
        Metrics(tmp_path / "metrics.jsonl").records()


def test_a_file_is_looked_at_after_it_was_opened(tmp_path):
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "x")


# ---- damaged files of a run ----

RECORD = b'{"epoch": 1, "step": 3, "test_accuracy": null}\n'
DAMAGED = [
    b"[" * 100_000 + b"\n",
    b'{"a":' * 100_000 + b"\n",
    b"\xff\xfe\n",
    b'{"step": 5}\n',
    b'{"step": true, "epoch": 1}\n',
    b'{"step": 5, "epoch": "1"}\n',
    b'{"step": 5, "epoch": 1, "validation_loss": [1], "validation_accuracy": "x"}\n',
    b'{"step": ' + b"9" * 5000 + b', "epoch": 1}\n',
    b"null\n",
]


def test_damaged_lines_of_metrics_are_left_out(tmp_path):
    metrics = Metrics(tmp_path / "metrics.jsonl")
    metrics.path.write_bytes(RECORD + b"".join(DAMAGED) + RECORD)
    assert [record["step"] for record in metrics.records()] == [3, 3]
    metrics.truncate_after(9)
    assert metrics.path.read_bytes() == RECORD * 2


def test_a_run_goes_on_from_damaged_metrics(here):
    options = "--out", "a", "--validation-split", 0.2, "--epochs", 2, "--progress", "none"
    done = here("distcnn.train", *options, "--max-steps", 12)
    assert done.returncode == 0, done.stderr
    with open("a/metrics.jsonl", "ab") as file:
        file.write(b"".join(DAMAGED))
    done = here("distcnn.train", *options, "--resume", "auto")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("line", ["exit x", "exit ", "exit", "exit 9" + "9" * 5000, "exit 1 2", "exit ٣"])
def test_an_exit_code_that_is_none_is_ignored(line):
    assert job_status.exit_code([line]) is None
    assert job_status.exit_code(["exit 75", line]) == 75
