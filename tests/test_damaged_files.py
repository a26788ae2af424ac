"""Damaged files, in short; `python -m tests.programs.damaged_files` tries ten thousand."""

import os
import sys

import h5py
import numpy as np
import pytest

from distcnn.data import hdf5_file, sandbox, sandbox_probe, survey
from distcnn.errors import DataError
from tests.programs import DAMAGED_FILES, HOSTILE_SOURCES, IN_PLACE


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


@pytest.mark.skipif(sys.platform != "linux", reason="limits are Linux's")
@pytest.mark.slow
def test_damaged_files_in_place_are_refused_or_give_what_h5py_reads(run):
    done = run("python", IN_PLACE, 20, "--seed", 7, "--kind", "virtual", "several")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "20 mutations, 0 did harm" in done.stdout


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


def damage_heap(path):
    """Overwrite the beginning of each heap of a file, where HDF5 stores text."""
    content = path.read_bytes()
    assert b"GCOL" in content
    path.write_bytes(content.replace(b"GCOL", b"XXXX"))


def text_labels(file):
    file["y"] = ["a", "b"] * 4


def names_beside_labels(file):
    file["y"] = [0, 1] * 4
    file["y"].attrs["classes"] = ["cat", "dog"]


@pytest.mark.parametrize("write", [text_labels, names_beside_labels])
def test_text_is_probed_wherever_it_is_stored(tmp_path, write):
    """On a damaged heap HDF5 may not end; here it has lost its beginning, which is an error."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros((8, 6, 5), np.uint8)
        write(file)
    sandbox_probe.probe(str(path), "/y")
    damage_heap(path)
    with pytest.raises((OSError, RuntimeError)):
        sandbox_probe.probe(str(path), "/y")


def test_text_that_does_not_fit_into_memory_is_not_called_damaged(monkeypatch):
    def probe(path):
        raise OSError("Can't synchronously read data (memory allocation failed for chunk)")

    monkeypatch.setattr(sandbox_probe, "probe", probe)
    monkeypatch.setattr(sandbox_probe, "limit", lambda: None)
    assert sandbox_probe.main("a.h5") == sandbox_probe.OVER_LIMIT


def test_usual_names_are_found_among_more_groups_than_are_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr(survey, "MOST", 8)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for k in range(20):
            file.create_group(f"a{k}")
        file["images"], file["labels"] = np.zeros((2, 3, 3), np.uint8), [0, 1]
        assert [each.path for each in survey.survey(file)] == ["/images", "/labels"]


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
