"""Files as biologists, astronomers, doctors and others have them: read right, or refused with what to do about it."""

import json
import zipfile

import h5py
import numpy as np
import pytest

from distcnn.data.dataset import load
from distcnn.data.importers.sources import read_source
from distcnn.data.info import report
from distcnn.data.summary import understood
from distcnn.data.wanted import Wanted
from distcnn.errors import DataError
from distcnn.parallel.serial import SerialComm
from tests.helpers.pictures import encoded

N = 40
RANDOM = np.random.default_rng(0)
GRAY = RANDOM.integers(0, 256, (N, 16, 18), np.uint8)
COLOR = RANDOM.integers(0, 256, (N, 16, 18, 3), np.uint8)  # channels last
FIRST = COLOR.transpose(0, 3, 1, 2)
Y = np.arange(N) % 4
NAMES = ["ant", "bee", "cat", "dog"]


def save(path, content):
    """Write a file: arrays by names, or what a function writes; return its path."""
    with h5py.File(path, "w") as file:
        for name, array in content.items() if isinstance(content, dict) else ():
            file[name] = array
        if callable(content):
            content(file)
    return str(path)


def read(path, **wanted):
    """Return the dataset in a file, and the lines on what was understood."""
    found = load(path, SerialComm(), wanted=Wanted(**wanted))
    return found, "\n".join(understood(found.description))


# ---- what is read ----


def with_attributes(place):
    def write(file):
        file["train/images"], file["train/labels"] = FIRST, Y
        file[place].attrs["class_names"] = NAMES

    return write


def enumeration(file):
    kind = h5py.enum_dtype({name: k for k, name in enumerate(NAMES)}, "u1")
    file["x"] = COLOR
    file.create_dataset("y", data=Y.astype("u1"), dtype=kind)


def two_names_of_one_array(file):
    file["entry/data/data"], file["entry/data/labels"] = GRAY, Y
    file["entry/instrument/detector/data"] = file["entry/data/data"]


def a_link_to_an_array_beside(file):
    file["entry/instrument/detector/data"], file["entry/data/label"] = GRAY, Y
    file["entry/data/data"] = h5py.SoftLink("/entry/instrument/detector/data")


TABLE = {"images": GRAY, "label": Y, "ra": RANDOM.random(N), "dec": RANDOM.random(N)}
GRID = {"image": GRAY, "label": Y, "x": np.arange(18.0), "y": np.arange(16.0), "time": np.arange(N)}
READ = {
    # content of the file, the images that it holds, the names of the classes, words of what is understood
    "fractions in 64 bits": ({"images": GRAY / 255, "labels": Y}, GRAY / 255, None, "as float32, not scaled"),
    "Hounsfield units": (
        {"images": GRAY.astype("i2") * 10 - 1000, "labels": Y},
        GRAY * 10.0 - 1000,
        None,
        "pixels int16",
    ),
    "one channel last": ({"x": GRAY[..., None], "y": Y}, GRAY, None, "axes NHWC"),
    "labels of text": ({"x": COLOR, "y": [NAMES[k] for k in Y]}, FIRST, NAMES, "labels text, 4 classes"),
    "labels of bytes": ({"x": COLOR, "y": np.array(NAMES, "S")[Y]}, FIRST, NAMES, "labels text"),
    "an enumeration": (enumeration, FIRST, NAMES, "labels numbers, 4 classes"),
    "names at the labels": (with_attributes("train/labels"), FIRST, NAMES, ""),
    "names at the group": (with_attributes("train"), FIRST, NAMES, ""),
    "two names of one array": (
        two_names_of_one_array,
        GRAY,
        None,
        "/entry/data/data with /entry/data/labels",
    ),
    "a link beside the labels": (a_link_to_an_array_beside, GRAY, None, "with /entry/data/label"),
    "masks beside images": (
        {"images": COLOR, "masks": GRAY > 9, "labels": Y},
        FIRST,
        None,
        "not used: /masks",
    ),
    "a catalog of the sky": (TABLE, GRAY, None, "not used: /dec, /ra"),
    "axes of a grid": (GRID, GRAY, None, "/image with /label"),
    "a group that is no split": (
        {"train/images": FIRST, "train/labels": Y, "extra/images": FIRST, "extra/labels": Y},
        FIRST,
        None,
        "not used: /extra/images, /extra/labels",
    ),
    "images to predict": (
        {"X_train": COLOR, "y_train": Y, "X_test": COLOR[:7]},
        FIRST,
        None,
        "test /X_test without labels",
    ),
    "labels from 1": (
        {"x": COLOR, "y": Y + 1},
        FIRST,
        ["0", "1", "2", "3", "4"],
        "class 0 has no training samples: do the labels count from 1? --map-labels",
    ),
    "labels with gaps": ({"x": COLOR, "y": Y * 2}, FIRST, list("0123456"), "3 classes: 1, 3, 5"),
}


@pytest.mark.parametrize("name", READ)
def test_what_people_have_is_read_as_they_mean_it(tmp_path, name):
    content, images, classes, words = READ[name]
    path = save(tmp_path / "a.h5", content)
    data, said = read(path)
    np.testing.assert_array_equal(data.train.images.squeeze(), np.float32(images))
    assert list(data.classes) == (classes or list("0123"))
    assert [data.classes[k] for k in data.train.labels] == (
        [NAMES[k] for k in Y] if classes is NAMES else [str(k) for k in np.array(stored_labels(content))]
    )
    assert words in said
    assert report([path]).wrong == []


def stored_labels(content):
    names = ("labels", "label", "y", "y_train", "train/labels")
    return next((content[name] for name in names if name in content), Y) if isinstance(content, dict) else Y


def test_labels_from_1_become_classes_when_asked(tmp_path):
    data, said = read(save(tmp_path / "a.h5", READ["labels from 1"][0]), map_labels=True)
    assert data.classes == ("1", "2", "3", "4")
    assert data.train.labels.tolist() == Y.tolist()
    assert "class 0" not in said


# ---- what is refused, and what then works ----


def reshaped(images):
    return lambda path: save(path, {"x": images.reshape(N, 16, 18), "y": Y})


def fields(file):
    table = np.zeros(N, [("image", "u1", (16, 18)), ("label", "i4")])
    table["image"], table["label"] = GRAY, Y
    file["data"] = table


def store_the_fields(path):
    with h5py.File(path, "a") as file:
        file["images"], file["labels"] = file["data"]["image"], file["data"]["label"]
        del file["data"]


def store_a_field(path):
    with h5py.File(path, "a") as file:
        file["kind"] = file["/y"]["label"]


def store_labels(path):
    with h5py.File(path, "a") as file:
        file["labels"] = Y


def folds(file):
    for k in range(2):
        file[f"fold{k}/images"], file[f"fold{k}/labels"] = GRAY, Y


def labels_of_fields(file):
    table = np.zeros(N, [("label", "i4"), ("weight", "f4")])
    table["label"] = Y
    file["x"], file["y"] = COLOR, table


HOLE = np.where(np.arange(N)[:, None, None] == 3, np.nan, GRAY)
OWN = {"train/images": GRAY, "train/labels": Y, "test/images": GRAY[:0], "test/labels": Y[:0]}
EMPTY = {"x_train": GRAY, "y_train": Y, "x_test": GRAY[:0], "y_test": Y[:0]}
REFUSED = {
    # content of the file, words of the message, what is done to the file, options that then work
    "a pixel without a value": (
        {"x": HOLE, "y": Y},
        "/x[3] has a pixel that is nan",
        lambda path: save(path, {"x": np.nan_to_num(HOLE), "y": Y}),
        {},
    ),
    "an empty test split": (OWN, "leave the group /test out", None, {"images": ("/train/images",)}),
    "an empty test array": (
        EMPTY,
        "/x_test holds no images: leave /x_test out, or name the training arrays alone, with --images",
        None,
        {"images": ("/x_train",), "labels": ("/y_train",)},
    ),
    "samples on the second axis": (
        {"x": GRAY[None], "y": Y},
        "the second axis counts the 40 samples, but which axes are rows and columns is open: say --layout CNHW",
        None,
        {"layout": "CNHW"},
    ),
    "samples on the second axis of our own": (
        {"train/images": GRAY[None], "train/labels": Y},
        "say --layout CNHW (1 channel of 16 x 18)",
        None,
        {"layout": "CNHW"},
    ),
    "axes of one element": (
        {"x": GRAY[:, None, None], "y": Y},
        "store it without axes of one element, images.reshape(40, 16, 18)",
        reshaped(GRAY),
        {},
    ),
    "axes of one element last": (
        {"x": GRAY[..., None, None], "y": Y},
        "store it without axes of one element, images.reshape(40, 16, 18)",
        reshaped(GRAY),
        {},
    ),
    "two bands last": (
        {"x": COLOR[..., :2], "y": Y},
        "say --layout NHWC (2 channels of 16 x 18)",
        None,
        {"layout": "NHWC"},
    ),
    "a table": (
        fields,
        "/data is a table with the fields image, label; wanted an array: store a field on its own",
        store_the_fields,
        {},
    ),
    "labels in a table": (
        labels_of_fields,
        "store a field on its own, such as file['new'] = file['/y']['label']",
        store_a_field,
        {"images": ("/x",), "labels": ("/kind",)},
    ),
    "images without labels": (
        {"images": GRAY},
        "say --images /images --labels /PATH; where there are none, store a label for each image",
        store_labels,
        {},
    ),
    "masks in place of labels": ({"images": GRAY, "labels": GRAY > 9}, "as masks have", None, None),
    "folds": (
        folds,
        "say --images /fold0/images --labels /fold0/labels or --images /fold1/images --labels /fold1/labels",
        None,
        {"images": ("/fold0/images", "/fold1/images"), "labels": ("/fold0/labels", "/fold1/labels")},
    ),
    "a class without a number": (
        {"x": COLOR, "y": Y - 1},
        "/y[0] is -1; wanted 0 to 65535: number the classes from 0, or --map-labels",
        None,
        {"map_labels": True},
    ),
    "videos": ({"x": np.zeros((N, 4, 8, 8, 3)), "y": Y}, "no third dimension", None, None),
    "complex numbers": ({"x": COLOR * 1j, "y": Y}, "complex128", None, None),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_open_is_refused_and_the_remedy_works(tmp_path, name):
    content, words, mend, options = REFUSED[name]
    path = save(tmp_path / "a.h5", content)
    with pytest.raises(DataError) as caught:
        read(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert report([path]).wrong
    if mend:
        mend(path)
    if options is not None:
        data, _ = read(path, **options)
        assert data.train.labels[:N].tolist() == Y.tolist()
        assert len(data.train.labels) in (N, 2 * N)
        assert data.train.images.shape[2:] == (16, 18)


def test_a_file_for_each_class_is_refused(tmp_path):
    paths = [save(tmp_path / f"{name}.h5", {"images": GRAY}) for name in NAMES[:2]]
    with pytest.raises(DataError, match="where there are none, store a label for each image"):
        read(paths)
    for k, path in enumerate(paths):
        with h5py.File(path, "a") as file:
            file["labels"] = np.full(N, k)
    assert np.bincount(read(paths)[0].train.labels).tolist() == [N, N]


# ---- a step, and predictions ----

SHAPES = {
    # of an image, and options that training needs
    "a row of pixels": ((1, 784), []),
    "a wide image": ((28, 112), []),
    "a small image": ((7, 7), []),
    "a hundred channels": ((100, 16, 16), ["--layout", "NCHW"]),
}


@pytest.mark.parametrize("name", SHAPES)
def test_images_of_any_shape_are_trained_and_predicted(here, name):
    """The test images have no labels: they are only predicted."""
    shape, options = SHAPES[name]
    images = RANDOM.integers(0, 256, (N, *shape), np.uint8)
    save("a.h5", {"x_train": images, "y_train": Y, "x_test": images[:9]})
    words = "--data", "a.h5", "--model", "mlp", "--max-steps", 1, "--out", "run", "--progress", "none"
    done = here("distcnn.train", *words, *options)
    assert done.returncode == 0, done.stderr
    assert "note: test images have no labels: they are for prediction only" in done.stdout + done.stderr
    assert json.loads(here("distcnn.predict", "run", "--json").stdout)["samples"] == 9
    done = here("distcnn.evaluate", "run")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "no labels for its test images, which can only be predicted" in done.stderr


def test_paths_of_an_archive_may_have_backslashes(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for k in range(6):
            file.writestr(f"train\\{NAMES[k % 3]}\\{k}.png", encoded(COLOR[k]))
    found = read_source(tmp_path / "a.zip")
    assert found.classes == ("ant", "bee", "cat")
    assert len(found.splits["train"][1]) == 6
