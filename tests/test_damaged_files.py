"""Damaged files, in short; `python -m tests.programs.damaged_files` tries ten thousand."""

import os
import sys

import h5py
import numpy as np
import pytest

from distcnn.data import hdf5_file, sandbox
from distcnn.errors import DataError
from tests.programs import DAMAGED_FILES, HOSTILE_SOURCES


@pytest.mark.skipif(sys.platform != "linux", reason="limits are Linux's")
@pytest.mark.slow
def test_damaged_files_are_refused_or_read_as_whole_ones(run):
    done = run("python", DAMAGED_FILES, 150, "--seed", 7)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "150 mutations, 0 did harm" in done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="limits are Linux's")
@pytest.mark.slow
def test_damaged_sources_are_refused_or_imported(run):
    done = run("python", HOSTILE_SOURCES, 150, "--seed", 7)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "150 mutations, 0 did harm" in done.stdout


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os; os.kill(os.getpid(), 11)", "crashes HDF5 (SIGSEGV)"),
        (
            "import distcnn.data.sandbox_probe as p; p.SECONDS = 1; p.limit()\nwhile True: pass",
            "takes more than 20 s or 1 GiB of memory, the limits",
        ),
        (
            "import distcnn.data.sandbox_probe as p; p.probe = lambda path: bytearray(2**40); sys.exit(p.main(''))",
            "takes more than 20 s or 1 GiB of memory, the limits",
        ),
        ("import distcnn.data.sandbox_probe as p; sys.exit(p.main('/nowhere'))", "No such file"),
    ],
)
def test_a_file_whose_probe_fails_is_refused(tmp_path, monkeypatch, code, words):
    path = tmp_path / "x.h5"
    path.write_bytes(b"")
    monkeypatch.setattr(sandbox, "PROBE", f"import sys; sys.path[:] = sys.argv[2:]; {code}")
    with pytest.raises(DataError) as caught:
        sandbox.check_in_sandbox(path)
    assert words in str(caught.value)
    assert ("damaged" in str(caught.value)) == ("limits" not in words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("storage", [{"compression": "gzip"}, {"fletcher32": True}])
def test_chunks_over_the_limit_are_not_called_damaged(tmp_path, monkeypatch, storage):
    """Where memory does not suffice, HDF5 says that a filter has failed. The remedy of the message works."""
    few = "import distcnn.data.sandbox_probe as p; p.MEMORY, p.SLAB = 2**26, 2**20; sys.exit(p.main(sys.argv[1]))"
    monkeypatch.setattr(sandbox, "PROBE", f"import sys; sys.path[:] = sys.argv[2:]; {few}")
    images = np.zeros((6400, 1, 64, 64), np.uint8)

    def write(chunk):
        path = tmp_path / f"{chunk}.h5"
        with h5py.File(path, "w") as file:
            chunks = {"chunks": (chunk, 1, 64, 64), **storage} if chunk else {}
            file.create_dataset("train/images", data=images, **chunks)
            file["train/labels"] = np.zeros(len(images), int)
        return path

    with pytest.raises(DataError) as caught:
        sandbox.check_in_sandbox(write(len(images)))
    assert "takes more than 20 s or 1 GiB of memory, the limits: write its datasets again" in str(
        caught.value
    )
    assert "damaged" not in str(caught.value)
    assert "contiguous or in chunks of at most 341 MiB" in str(caught.value)
    for chunk in (0, 2000):
        sandbox.check_in_sandbox(write(chunk))


def test_a_file_is_probed_once_and_again_when_it_has_changed(tmp_path, monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    probes, path = [], tmp_path / "x.h5"

    def probe_of_another_process(young):
        monkeypatch.setattr(sandbox, "_checked", set())
        monkeypatch.setattr(sandbox, "YOUNG", young)
        monkeypatch.setattr(sandbox, "run_probe", lambda path: probes.append(path) or (0, ""))
        sandbox.check_in_sandbox(path)
        return len(probes)

    path.write_bytes(b"x")
    assert [probe_of_another_process(young=60) for _ in range(2)] == [1, 2]  # it may still be changing
    assert [probe_of_another_process(young=0) for _ in range(2)] == [3, 3]
    path.write_bytes(b"xy")
    assert probe_of_another_process(young=0) == 4


@pytest.mark.parametrize("when", ["while it is probed", "before it is opened"])
def test_a_file_that_is_replaced_after_the_look_is_refused(tmp_path, monkeypatch, when):
    """Another file under the same name has not been probed, and is not used."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path, other = tmp_path / "x.h5", tmp_path / "other.h5"
    for each in (path, other):
        with h5py.File(each, "w") as file:
            file.attrs["name"] = each.name
    probe, check = sandbox.run_probe, hdf5_file.check_in_sandbox

    def replaced_after(function):
        def call(path):
            result = function(path)
            os.replace(other, path)
            return result

        return call

    if when == "while it is probed":
        monkeypatch.setattr(sandbox, "run_probe", replaced_after(probe))
    else:
        monkeypatch.setattr(hdf5_file, "check_in_sandbox", replaced_after(check))
    with pytest.raises(DataError, match="has changed while it was checked"), hdf5_file.open_hdf5(path):
        pass
    monkeypatch.undo()
    with hdf5_file.open_hdf5(path) as file:
        assert file.attrs["name"] == "other.h5"
