"""Users' own HDF5 files, as they are: what is found by names, shapes and values, and what is asked or refused."""

import h5py
import numpy as np
import pytest

from distcnn.data.dataset import load
from distcnn.data.summary import understood
from distcnn.data.wanted import Wanted
from distcnn.errors import DataError
from distcnn.parallel.serial import SerialComm

N, M, V = 24, 9, 6  # samples to train, to test and for validation
CLASSES = 3


def pictures(n, seed=0):
    """Return images [n, 3, 8, 9] and labels [n]."""
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (n, 3, 8, 9), np.uint8), np.arange(n) % CLASSES


TRAIN, TEST, VALIDATION = pictures(N, 1), pictures(M, 2), pictures(V, 3)
X, Y = TRAIN


def last(images):
    """Return images with the channels last."""
    return images.transpose(0, 2, 3, 1)


def save(path, arrays, **attributes):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
        for name, value in attributes.items():
            file.attrs[name] = value
    return str(path)


def read(data, validation=0.0, test=0.0, **wanted):
    """Return the dataset in some files, and the lines on what was understood."""
    found = load(data, SerialComm(), validation, 0, test, Wanted(**wanted))
    return found, "\n".join(understood(found.description))


def same(split, wanted):
    np.testing.assert_array_equal(split.images, wanted[0])
    np.testing.assert_array_equal(split.labels, wanted[1])


def message(data, **options):
    with pytest.raises(DataError) as raised:
        read(data, **options)
    assert "\n" not in str(raised.value)
    return str(raised.value)


# ---- names ----

NAMES = {
    # images and labels of the training split, then of the test split
    "own": ("train/images", "train/labels", "test/images", "test/labels"),
    "a course": ("train_set_x", "train_set_y", "test_set_x", "test_set_y"),
    "x and y": ("x_train", "y_train", "x_test", "y_test"),
    "capitals": ("X_train", "Y_train", "X_test", "Y_test"),
    "without underscores": ("xtrain", "ytrain", "xtest", "ytest"),
    "camels": ("trainImages", "trainLabels", "testImages", "testLabels"),
    "groups of kinds": ("images/train", "labels/train", "images/test", "labels/test"),
    "groups with data": ("training/data", "training/label", "testing/data", "testing/label"),
    "deep groups": ("set/train/features", "set/train/targets", "set/test/features", "set/test/targets"),
    "dashes": ("train-imgs", "train-targets", "test-imgs", "test-targets"),
}


@pytest.mark.parametrize("name", NAMES)
def test_usual_names_are_found(tmp_path, name):
    arrays = dict(zip(NAMES[name], (last(X), Y, last(TEST[0]), TEST[1]), strict=True))
    data, said = read(save(tmp_path / "a.h5", arrays))
    same(data.train, TRAIN)
    same(data.test, TEST)
    assert data.validation is None
    assert f"/{NAMES[name][0]} with /{NAMES[name][1]}" in said


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("images", "ans"),
        ("image", "label"),
        ("x", "y"),
        ("X", "Y"),
        ("data", "label"),
        ("features", "targets"),
    ],
)
def test_names_without_splits_are_for_training(tmp_path, images, labels):
    data, _ = read(save(tmp_path / "a.h5", {images: X, labels: Y}))
    same(data.train, TRAIN)
    assert (data.test, data.validation) == (None, None)


@pytest.mark.parametrize("group", ["validation", "val", "valid"])
def test_validation_groups_are_used(tmp_path, group):
    arrays = {"train/images": X, "train/labels": Y}
    arrays |= {f"{group}/images": VALIDATION[0], f"{group}/labels": VALIDATION[1]}
    path = save(tmp_path / "a.h5", arrays)
    data, said = read(path)
    same(data.train, TRAIN)
    same(data.validation, VALIDATION)
    assert (group == "validation") == (not said)
    assert f"/{group}/images is the validation split; leave --validation-split out" in message(
        path, validation=0.2
    )
    alone, _ = read(path, 0.25, images=("/train/images",), labels=("/train/labels",))
    assert len(alone.validation.labels) == 6


def test_a_table_of_splits_says_the_rows(tmp_path):
    kind = [("split", "S5"), ("source", "S8"), ("start", "i8"), ("stop", "i8")]
    table = [(b"train", b"features", 0, N), (b"test", b"features", N, N + M)]
    table += [(split, b"targets", start, stop) for split, _, start, stop in table]
    arrays = {"features": np.concatenate([X, TEST[0]]), "targets": np.concatenate([Y, TEST[1]])[:, None]}
    for rows in (table, table[:2]):  # of the labels, too, or of the images alone
        data, said = read(save(tmp_path / "a.h5", arrays, split=np.array(rows, kind)))
        same(data.train, TRAIN)
        same(data.test, TEST)
        assert f"/features[0:{N}]" in said
        assert f"/features[{N}:{N + M}]" in said


def test_fractions_become_splits(tmp_path):
    path = save(tmp_path / "a.h5", {"images": X, "ans": Y})
    data, _ = read(path, 0.25, 0.25)
    assert [len(each.labels) for each in (data.train, data.validation, data.test)] == [13, 5, 6]
    rows = np.concatenate([each.images for each in (data.train, data.validation, data.test)])
    assert sorted(row.tobytes() for row in rows) == sorted(row.tobytes() for row in X)
    again, _ = read(path, test=0.25)
    np.testing.assert_array_equal(again.test.images, data.test.images)
    assert (again.fingerprint, len(again.train.labels)) == (data.fingerprint, 18)
    own = {"train/images": X, "train/labels": Y, "test/images": X, "test/labels": Y}
    assert "leave --test-split out" in message(save(tmp_path / "b.h5", own), test=0.25)
    assert "takes 0 of 24" in message(path, test=0.001)


# ---- several files ----


def test_files_are_concatenated_in_their_order(tmp_path):
    parts = [
        save(tmp_path / f"part-{k}.h5", {"x": X[rows], "y": Y[rows]})
        for k, rows in ((10, slice(16, 24)), (2, slice(8, 16)), (1, slice(0, 8)))
    ]
    same(read(parts[::-1])[0].train, TRAIN)
    by_pattern, said = read([str(tmp_path / "part-*.h5")])
    same(by_pattern.train, TRAIN)
    assert "part-1.h5:/x, part-2.h5:/x and 1 more" in said
    backwards = read(parts)[0].train
    np.testing.assert_array_equal(backwards.images, np.concatenate([X[16:], X[8:16], X[:8]]))
    assert "is named twice" in message([parts[0], parts[0]])
    assert "no file matches" in message([str(tmp_path / "*.hdf5")])


def test_images_and_labels_may_lie_in_two_files_a_split(tmp_path):
    files = []
    for split, (images, labels) in {"train": TRAIN, "valid": VALIDATION}.items():
        files.append(save(tmp_path / f"cut_{split}_x.h5", {"x": last(images)}))
        files.append(save(tmp_path / f"cut_{split}_y.h5", {"y": labels.reshape(-1, 1, 1, 1)}))
    options = {
        "images": (f"{files[0]}:/x",),
        "labels": (f"{files[1]}:y",),
        "validation_images": (files[2],),
        "validation_labels": (f"{files[3]}:/y",),
    }
    for data, _ in (read(files), read(None, **options), read([str(tmp_path / "cut_*.h5")])):
        same(data.train, TRAIN)
        same(data.validation, VALIDATION)


def test_a_file_that_would_not_be_used_is_refused(tmp_path):
    files = [
        save(tmp_path / "a.h5", {"x_train": X, "y_train": Y}),
        save(tmp_path / "b.h5", {"x": X, "y": Y}),
    ]
    assert "nothing is used of" in message(files)
    options = {"images": ("a.h5:/x_train", "b.h5:/x"), "labels": ("a.h5:/y_train", "b.h5:/y")}
    assert len(read(files, **options)[0].train.labels) == 2 * N


def test_rows_may_be_named(tmp_path):
    path = save(tmp_path / "a.h5", {"x": X, "y": Y})
    options = {
        "images": ("/x[:16]",),
        "labels": ("/y[:16]",),
        "test_images": ("/x[16:]",),
        "test_labels": ("/y[16:24]",),
    }
    data, said = read(path, **options)
    same(data.train, (X[:16], Y[:16]))
    same(data.test, (X[16:], Y[16:]))
    assert "/x[0:16]" in said
    hot = save(tmp_path / "b.h5", {"x": X, "y": np.eye(16)[Y]})  # the rows named are as many as the columns
    rows = {"images": ("/x[:16]",), "labels": ("/y[:16]",), "task": "classify"}
    same(read(hot, **rows)[0].train, (X[:16], Y[:16]))
    assert "has 24 rows, and rows 16 to 30 are named" in message(path, images=("/x[16:30]",), labels=("/y",))


# ---- what is open is asked ----


def test_candidates_are_listed_with_the_lines_to_type(tmp_path):
    path = save(tmp_path / "a.h5", {"one": X, "two": last(X), "label": Y, "ids": np.arange(5)})
    said = message(path)
    assert "say --images /one --labels /label or --images /two --labels /label" in said
    assert "/ids" not in said.partition("say")[2]
    same(read(path, images=("/two",), labels=("/label",))[0].train, TRAIN)
    same(read(path, images=("/one",))[0].train, TRAIN)  # the labels are the only ones


def test_two_pairs_are_asked_for(tmp_path):
    path = save(tmp_path / "a.h5", {"x": X, "images": X, "y": Y})
    assert "--images /images --labels /y or --images /x --labels /y" in message(path)
    assert "not used: /images" in read(path, images=("/x",), labels=("/y",))[1]


def test_a_pair_is_known_by_its_length(tmp_path):
    path = save(tmp_path / "a.h5", {"x": X, "images": TEST[0], "y": Y})
    same(read(path)[0].train, TRAIN)


def test_axes_are_asked_for_and_named(tmp_path):
    bands = np.random.default_rng(0).random((N, 8, 8, 13))
    path = save(tmp_path / "a.h5", {"train/images": bands, "train/labels": Y})
    said = message(path)
    assert "say --layout NHWC (13 channels of 8 x 8) or --layout NCHW (8 channels of 8 x 13)" in said
    data, said = read(path, layout="NHWC")
    np.testing.assert_array_equal(data.train.images, bands.transpose(0, 3, 1, 2).astype("f4"))
    assert "axes NHWC; pixels float64, as float32, not scaled" in said
    flat = save(tmp_path / "b.h5", {"X_train": X.reshape(N, -1), "y_train": Y})
    assert "--layout" in message(flat)
    same(read(flat, layout="NCHW:3x8x9")[0].train, TRAIN)
    turned = save(tmp_path / "c.h5", {"X": X.transpose(2, 3, 1, 0), "y": Y[None]})
    assert "the last axis counts the 24 samples" in message(turned)
    same(read(turned, layout="HWCN")[0].train, TRAIN)


def test_encoded_images_and_volumes_are_named(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        encoded = file.create_dataset("train/images", (2,), h5py.vlen_dtype("uint8"))
        encoded[0], encoded[1] = np.arange(3), np.arange(4)
        file["train/labels"] = [0, 1]
    assert "python -m distcnn.data import" in message(tmp_path / "a.h5")
    path = save(tmp_path / "b.h5", {"train/images": np.zeros((N, 1, 8, 8, 8)), "train/labels": Y})
    assert "no third dimension" in message(path)


# ---- types and values ----

TYPES = ["<u2", ">u2", "i1", "<i4", ">i8", "<u8", "<f2", "<f8", ">f8"]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    "storage", [{}, {"compression": "lzf", "chunks": (5, 3, 8, 9)}], ids=["plain", "lzf"]
)
def test_types_are_converted_and_kept_apart(tmp_path, dtype, storage):
    values = (X % 100).astype(dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=values, **storage)
        file["y"] = Y
    data, said = read(tmp_path / "a.h5")
    np.testing.assert_array_equal(data.train.images, X % 100)
    assert data.train.images.dtype == np.float32
    assert "as float32, not scaled" in said
    assert data.scale == ("float32" if "f" in dtype else np.dtype(dtype).name)


def test_booleans_are_black_and_white(tmp_path):
    data, said = read(save(tmp_path / "a.h5", {"x": X > 99, "y": Y}))
    np.testing.assert_array_equal(data.train.images, (X > 99) * np.uint8(255))
    assert (data.scale, "False and True as 0 and 255" in said) == ("uint8", True)


def test_a_float_beyond_float32_is_refused(tmp_path):
    values = X.astype("f8")
    values[3, 0, 0, 0] = 1e300
    assert "/x[3] has a pixel that is inf" in message(save(tmp_path / "a.h5", {"x": values, "y": Y}))


def test_text_labels_and_class_names(tmp_path):
    names = np.array(["ant", "bee", "cat"])
    data, said = read(
        save(tmp_path / "a.h5", {"train/images": X, "train/labels": list(names[Y].astype("S"))})
    )
    same(data.train, TRAIN)
    assert (data.classes, "labels text, 3 classes" in said) == (("ant", "bee", "cat"), True)
    listed = {"train_set_x": X, "train_set_y": Y[None], "list_classes": names.astype("S")}
    data, said = read(save(tmp_path / "b.h5", listed))
    same(data.train, TRAIN)
    assert data.classes == ("ant", "bee", "cat")
    assert "not used" not in said
    data, said = read(save(tmp_path / "c.h5", {"x": X, "y": Y}, label_names=["ant", "bee"]))
    assert data.classes == ("0", "1", "2")
    assert "the 2 names of classes do not fit" in said


def test_identifiers_are_mapped_on_request(tmp_path):
    path = save(tmp_path / "a.h5", {"x": X, "y": Y * 10007 + 100000})
    assert "--map-labels" in message(path)
    data, _ = read(path, map_labels=True)
    same(data.train, TRAIN)
    assert data.classes == ("100000", "110007", "120014")


def test_files_that_name_other_classes_are_refused(tmp_path):
    files = [
        save(tmp_path / f"{k}.h5", {"x": X, "y": Y}, classes=["a", "b", name]) for k, name in enumerate("cd")
    ]
    assert "files name different classes" in message(files)


def test_a_filter_that_is_not_installed_is_named_with_its_package(tmp_path, monkeypatch):
    storage = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    storage.set_chunk(X.shape)
    storage.set_filter(300, h5py.h5z.FLAG_OPTIONAL)  # a number for tests, which no plugin has
    with h5py.File(tmp_path / "a.h5", "w") as file:
        space = h5py.h5s.create_simple(X.shape)
        images = h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_UINT8, space, storage)
        h5py.Dataset(images)[:] = X
        file["y"] = Y
    assert "pip install hdf5plugin" in message(tmp_path / "a.h5")


@pytest.mark.parametrize("name", ["Blosc", "Zstd", "Bitshuffle", "LZ4"])
def test_filters_of_the_plugin_are_read_where_it_is_installed(tmp_path, name):
    plugin = pytest.importorskip("hdf5plugin")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=X, chunks=(7, 3, 8, 9), **getattr(plugin, name)())
        file["y"] = Y
    same(read(tmp_path / "a.h5")[0].train, TRAIN)
