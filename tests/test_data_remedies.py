"""What messages on data advise is carried out here, and works: pack, and names of arrays in other files."""

import os
import re
import shlex

import h5py
import numpy as np
import pytest

from distcnn.data.describe import describe
from distcnn.data.importers import arrays, hdf5_arrays
from distcnn.data.stream import limits
from distcnn.data.stream.source import can_be_streamed
from distcnn.data.wanted import Wanted
from tests.helpers import datasets
from tests.helpers.streams import small_units

IMAGES, LABELS = datasets.IMAGES, datasets.LABELS
TRAIN = "distcnn.train --model mlp --max-steps 1 --batch-size 16 --progress none"
STREAM = f"{TRAIN} --data-mode stream --window 1"


@pytest.fixture
def command(here):
    """Return a function that runs a command, and returns its error, "" if it works."""

    def call(line):
        module, *words = shlex.split(line.replace("python -m ", ""))
        done = here("distcnn.data.__main__" if module == "distcnn.data" else module, *words)
        assert done.returncode == (2 if done.stderr.startswith("distcnn: error") else 0), done.stderr
        return done.stderr if done.returncode else ""

    return call


def advice(error, pattern):
    """Return what a message of one line advises."""
    assert error.count("\n") == 1
    found = re.search(pattern, error)
    assert found, error
    return found[1]


PACK = r"(python -m distcnn\.data pack \S+ OUT\.h5)"


def test_chunks_that_are_too_large_for_streaming_are_packed(command, monkeypatch):
    small_units(monkeypatch, 60)
    monkeypatch.setattr(limits, "LIMIT", 5000)
    datasets.write("large.h5", {"train/images": None, "test/images": None})
    with h5py.File("large.h5", "r+") as file:
        for split, n in (("train", 12), ("test", 4)):
            file.create_dataset(f"{split}/images", data=IMAGES[:n], chunks=(n, 1, 6, 5))
    error = command(f"{STREAM} --data large.h5 --out a")
    assert command(advice(error, PACK)) == ""
    assert command(f"{STREAM} --data OUT.h5 --out a") == ""


def samples_last():
    with h5py.File("odd.h5", "w") as file:
        file["x"], file["y"] = IMAGES.transpose(1, 2, 3, 0), LABELS


def virtual():
    with h5py.File("source.h5", "w") as file:
        file["a"] = IMAGES
    layout = h5py.VirtualLayout(IMAGES.shape, IMAGES.dtype)
    layout[...] = h5py.VirtualSource("source.h5", "a", IMAGES.shape)
    with h5py.File("odd.h5", "w") as file:
        file.create_virtual_dataset("x", layout)
        file["y"] = LABELS


@pytest.mark.parametrize(("write", "options"), [(samples_last, "--layout CHWN"), (virtual, "")])
def test_what_cannot_be_streamed_is_packed(command, write, options):
    write()
    error = command(f"{STREAM} --data odd.h5 {options} --out a")
    assert command(f"{advice(error, PACK)} {options}") == ""
    assert command(f"{STREAM} --data OUT.h5 --out a") == ""


def test_what_can_be_streamed_is_known_before(here):
    samples_last()
    for layout, wanted in (("CHWN", False), ("NHWC", True)):
        found = describe(
            (os.path.abspath("odd.h5"),), Wanted(layout=layout), needed=(), report=lambda *_: None
        )
        assert can_be_streamed(found.splits["train"].images) == wanted


def test_other_data_are_evaluated_in_memory_where_they_cannot_be_streamed(command):
    """Also where training has streamed and has cut a validation split off its own data."""
    virtual()
    datasets.write("data.h5", classes=None)
    assert command(f"{STREAM} --data data.h5 --validation-split 0.25 --out a") == ""
    assert command("distcnn.evaluate a --data odd.h5 --split train") == ""


def test_an_import_names_the_array_to_which_a_virtual_dataset_leads(command):
    os.mkdir("in")
    virtual()
    os.rename("odd.h5", "in/odd.h5")
    with h5py.File("in/odd.h5", "r+") as file:
        del file["x"]
        layout = h5py.VirtualLayout(IMAGES.shape, IMAGES.dtype)
        layout[...] = h5py.VirtualSource(os.path.abspath("source.h5"), "a", IMAGES.shape)
        file.create_virtual_dataset("x", layout)
    error = command("distcnn.data import in/odd.h5 new.h5")
    option = advice(error, r"name that file itself, as in (--images FILE:/path)")
    assert (
        command(f"distcnn.data import in/odd.h5 new.h5 {option.replace('FILE:/path', 'source.h5:/a')}") == ""
    )
    with h5py.File("new.h5") as file:
        np.testing.assert_array_equal(file["train/images"], IMAGES)
    assert command("distcnn.data pack in/odd.h5 packed.h5 --images source.h5:/a --labels in/odd.h5:/y") == ""


def write_table():
    """Write a file whose attribute `split` names rows one by one."""
    names = [("split", "S8"), ("source", "S8"), ("start", "i8"), ("stop", "i8"), ("indices", h5py.ref_dtype)]
    with h5py.File("table.h5", "w") as file:
        file["features"], file["targets"], file["rows"] = IMAGES, LABELS, np.arange(0, 12, 2)
        rows = [("train", name, 0, 0, file["rows"].ref) for name in ("features", "targets")]
        file.attrs["split"] = np.array(rows, names)


@pytest.mark.parametrize("line", [f"{TRAIN} --data table.h5 --out a", "distcnn.data pack table.h5 new.h5"])
def test_rows_are_named_where_a_table_names_them_one_by_one(command, line):
    write_table()
    assert advice(command(line), r"say (--images) /path\[0:9\]")
    assert command(f"{line} --images /features[0:9] --labels /targets[0:9]") == ""


def test_rows_are_named_for_pack_where_an_import_cannot(command):
    write_table()
    words = advice(command("distcnn.data import table.h5 new.h5"), r"name rows for (.*)")
    line = re.sub(r",", "", words).replace("/NAME", "/features", 1).replace("/NAME", "/targets")
    assert command(line) == ""
    with h5py.File("OUT.h5") as file:
        np.testing.assert_array_equal(file["train/images"], IMAGES[:9])


def test_of_very_many_datasets_an_import_takes_those_that_are_named(command, monkeypatch):
    monkeypatch.setattr(hdf5_arrays, "MOST", 5)
    with h5py.File("many.h5", "w") as file:
        file["a/pictures_of_mine"], file["a/kinds"] = IMAGES, LABELS
        for k in range(20):
            file[f"other/{k}"] = k
    error = command("distcnn.data import many.h5 new.h5")
    option = advice(error, r"name two of them, (--images NAME --labels NAME)")
    option = option.replace("NAME", "pictures_of_mine", 1).replace("NAME", "a/kinds")
    assert command(f"distcnn.data import many.h5 new.h5 {option}") == ""
    assert "more than 5 datasets" in command(
        "distcnn.data import many.h5 b.h5 --images nowhere --labels none"
    )


@pytest.mark.parametrize("place", ["of images", "of one array"])
def test_what_is_too_large_for_an_import_needs_none(command, monkeypatch, place):
    datasets.write("data.h5")
    monkeypatch.setattr(arrays if place == "of images" else hdf5_arrays, "MEMORY_LIMIT", 300)
    error = command("distcnn.data import data.h5 new.h5") if place == "of images" else message_of("data.h5")
    assert command(advice(error, PACK)) == ""
    assert command(f"{TRAIN} --data OUT.h5 --out a") == ""


def message_of(path):
    """Return the message on an array over the limit, which another process finds."""
    return hdf5_arrays.problem_of((path, "/train/images")) + "\n"
