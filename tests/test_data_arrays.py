"""Arrays as people have them: NumPy's, MATLAB's and any HDF5, in files, folders and archives; pickles never."""

import gzip
import io
import pickle
import struct
import zipfile

import h5py
import numpy as np
import pytest

from distcnn.data.dataset import load
from distcnn.data.importers import mat5, writer
from distcnn.data.importers.array_choice import choose
from distcnn.data.importers.importer import Options
from distcnn.data.importers.sources import read_source
from distcnn.data.names import mentioned_kind, mentioned_split
from distcnn.errors import DataError, UserError
from distcnn.parallel.serial import SerialComm
from tests.helpers.idx import IMAGES as IDX_IMAGES
from tests.helpers.idx import LABELS as IDX_LABELS
from tests.helpers.idx import MNIST, folder, idx
from tests.helpers.mat import mat, matrix, text
from tests.helpers.pictures import encoded, write

RANDOM = np.random.default_rng(0)
GRAY = RANDOM.integers(0, 256, (30, 8, 9), np.uint8)
COLOR = RANDOM.integers(0, 256, (30, 8, 9, 3), np.uint8)
LABELS = np.arange(30) % 3
TRAIN, TEST = slice(0, 20), slice(20, 30)


def imported(path, **options):
    """Return the samples of a source, and what was told."""
    notes = []
    return read_source(path, Options(note=notes.append, **options)), notes


def check(found, images=GRAY[:, None], parts=None):
    """Compare samples with images (n, c, h, w) and LABELS."""
    for split, rows in (parts or {"train": TRAIN, "test": TEST}).items():
        np.testing.assert_array_equal(found.splits[split][0], images[rows])
        np.testing.assert_array_equal(found.splits[split][1], LABELS[rows])


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def hdf5(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path


KERAS = {"x_train": GRAY[TRAIN], "y_train": LABELS[TRAIN], "x_test": GRAY[TEST], "y_test": LABELS[TEST]}
NPZ = {
    "Keras": KERAS,
    "parts": {
        f"{split}_{kind}": array[rows]
        for split, rows in (("train", TRAIN), ("test", TEST))
        for kind, array in (("images", GRAY), ("labels", LABELS[:, None]))
    },
    "camels": {"xTrain": GRAY[TRAIN], "yTrain": LABELS[TRAIN], "xTest": GRAY[TEST], "yTest": LABELS[TEST]},
}


@pytest.mark.parametrize("name", NPZ)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path, name, save):
    save(tmp_path / "x.npz", **NPZ[name])
    found, notes = imported(tmp_path / "x.npz")
    check(found)
    assert (found.classes, notes) == (("0", "1", "2"), [])


def test_npz_with_a_validation_split(tmp_path):
    arrays = {
        f"{split}_{kind}": array[rows]
        for split, rows in (("train", TRAIN), ("val", TEST))
        for kind, array in (("images", COLOR), ("labels", LABELS))
    }
    np.savez(tmp_path / "x.npz", **arrays)
    check(imported(tmp_path / "x.npz")[0], COLOR.transpose(0, 3, 1, 2), {"train": TRAIN, "validation": TEST})


@pytest.mark.parametrize("packing", ["folder", "zip", "nested"])
def test_pairs_of_npy(tmp_path, packing):
    contents = {f"{name}.npy": npy(array) for name, array in KERAS.items()}
    source = tmp_path / packing
    if packing == "folder":
        write(source, contents)
    elif packing == "zip":
        with zipfile.ZipFile(source, "w") as file:
            for name, content in contents.items():
                file.writestr(f"data/{name}", content)
    else:
        np.savez(tmp_path / "x.npz", **KERAS)
        with zipfile.ZipFile(source, "w") as file:
            file.write(tmp_path / "x.npz", "inside/x.npz")
    check(imported(source)[0])


def test_fractions_of_arrays(tmp_path):
    np.savez(tmp_path / "x.npz", images=GRAY, labels=LABELS)
    found, _ = imported(tmp_path / "x.npz", test_split=0.2, validation_split=0.1)
    assert {split: len(images) for split, (images, _) in found.splits.items()} == {
        "train": 21,
        "validation": 3,
        "test": 6,
    }
    rows = {
        image.tobytes(): label
        for images, labels in found.splits.values()
        for image, label in zip(images, labels, strict=True)
    }
    assert rows == {image.tobytes(): label for image, label in zip(GRAY, LABELS, strict=True)}


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [">u2", "<f8", "<f4", "|b1", "<i8"])
def test_types_become_what_training_sees(tmp_path, order, dtype):
    images = np.asarray(COLOR.astype(dtype), order=order)
    write(tmp_path / "x", {"images.npy": npy(images), "labels.npy": npy(LABELS)})
    found, notes = imported(tmp_path / "x")
    wanted = (images.astype(np.uint8) * 255) if dtype == "|b1" else images.astype(np.float32)
    np.testing.assert_array_equal(found.splits["train"][0], wanted.transpose(0, 3, 1, 2))
    assert found.splits["train"][0].dtype == wanted.dtype
    assert [note for note in notes if "become float32" in note] == notes
    assert len(notes) == (dtype in (">u2", "<f8", "<i8"))


# ---- MATLAB ----

SVHN = COLOR.transpose(1, 2, 3, 0)  # rows, columns, channels, samples


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [False, True])
def test_mat_of_version_5(tmp_path, order, packed):
    parts = {}
    for split, rows in (("train", TRAIN), ("test", TEST)):
        labels = matrix("y", (LABELS[rows, None] + 1.0), order, packed, stored="u1")
        images = matrix("X", np.ascontiguousarray(SVHN[..., rows]), order, packed)
        parts[f"{split}_32x32.mat"] = mat(images, labels, order=order)
    found, notes = imported(write(tmp_path, parts))
    check(found, COLOR.transpose(0, 3, 1, 2))
    assert found.classes == ("1", "2", "3")
    assert notes == ["labels begin at 1: the number of a class is one less, and its name is the label"]


def test_mat_with_samples_first_and_names(tmp_path):
    whole = mat(
        matrix("images", GRAY),
        matrix("labels", LABELS.astype("f8")),
        text("classes", ["cat", "dog", "horse"]),
    )
    (tmp_path / "x.mat").write_bytes(whole)
    found, _ = imported(tmp_path / "x.mat")
    check(found, parts={"train": slice(0, 30)})
    assert found.classes == ("cat", "dog", "horse")


def test_mat_of_version_73(tmp_path):
    with h5py.File(tmp_path / "x.mat", "w", userblock_size=512) as file:  # axes turned
        file["X"], file["y"] = SVHN.T, LABELS[None].astype("f8")
    check(imported(tmp_path / "x.mat")[0], COLOR.transpose(0, 3, 1, 2), {"train": slice(0, 30)})


MAT = mat(matrix("X", GRAY, packed=True), matrix("y", LABELS.astype("f8")))


@pytest.mark.parametrize("cut", [0, 50, 127, 130, 140, 200, len(MAT) - 1])
def test_mat_that_is_cut_off(tmp_path, cut):
    (tmp_path / "x.mat").write_bytes(MAT[:cut])
    with pytest.raises(DataError) as caught:
        read_source(tmp_path / "x.mat")
    assert "\n" not in str(caught.value)


def test_mat_of_what_is_not_numbers_is_left_out():
    complex_numbers, logical = 1 << 11, 1 << 9
    whole = mat(matrix("z", GRAY, flags=complex_numbers), matrix("y", GRAY, flags=logical))
    assert [name for name, _ in mat5.variables("x", whole)] == ["y"]


def test_a_packed_mat_has_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(mat5, "MEMORY_LIMIT", 2**16)
    (tmp_path / "x.mat").write_bytes(mat(matrix("X", np.zeros((300, 300)), packed=True)))
    with pytest.raises(DataError, match="unpacks to more than"):
        read_source(tmp_path / "x.mat")


# ---- HDF5 ----


def test_any_hdf5(tmp_path):
    path = hdf5(
        tmp_path / "x.h5",
        train_set_x=COLOR[TRAIN],
        train_set_y=LABELS[None, TRAIN],
        list_classes=[b"a", b"b", b"c"],
    )
    found, _ = imported(path)
    check(found, COLOR.transpose(0, 3, 1, 2), {"train": TRAIN})
    assert found.classes == ("a", "b", "c")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("x.h5", None),
        ("../x.h5", "y.h5: /images lies in .* outside the folder"),
        ("none.h5", "y.h5: .*not exist"),
    ],
)
def test_a_virtual_dataset_has_its_sources_in_the_folder(tmp_path, name, problem):
    (tmp_path / "in").mkdir()
    for place in (tmp_path, tmp_path / "in"):
        hdf5(place / "x.h5", images=GRAY)
    layout = h5py.VirtualLayout(GRAY.shape, "u1")
    layout[:] = h5py.VirtualSource(name, "images", GRAY.shape)
    with h5py.File(hdf5(tmp_path / "in" / "y.h5", labels=LABELS), "a") as file:
        file.create_virtual_dataset("images", layout)
    if problem:
        with pytest.raises(DataError, match=problem):
            imported(tmp_path / "in" / "y.h5")
    else:
        check(imported(tmp_path / "in" / "y.h5")[0], parts={"train": slice(0, 30)})


def test_our_own_layout_and_its_names(tmp_path):
    names = {
        f"{split}/{kind}": array[rows]
        for split, rows in (("train", TRAIN), ("test", TEST))
        for kind, array in (("images", GRAY), ("labels", LABELS))
    }
    with h5py.File(hdf5(tmp_path / "x.h5", **names), "a") as file:
        file.attrs["classes"] = ["x", "y", "z"]
    found, _ = imported(tmp_path / "x.h5")
    check(found)
    assert found.classes == ("x", "y", "z")


def test_images_and_labels_in_two_files(tmp_path):
    for split, rows in (("train", TRAIN), ("valid", TEST)):
        hdf5(tmp_path / f"split_{split}_x.h5", x=COLOR[rows])
        hdf5(tmp_path / f"split_{split}_y.h5", y=LABELS[rows].reshape(-1, 1, 1, 1))
    check(imported(tmp_path)[0], COLOR.transpose(0, 3, 1, 2), {"train": TRAIN, "validation": TEST})


def test_hdf5_in_an_archive(tmp_path):
    hdf5(tmp_path / "x.h5", images=GRAY, labels=LABELS)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.write(tmp_path / "x.h5", "x.h5")
    check(imported(tmp_path / "x.zip")[0], parts={"train": slice(0, 30)})


def test_encoded_images_in_hdf5(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["labels"] = LABELS
        images = file.create_dataset("images", (30,), h5py.vlen_dtype("uint8"))
        for k in range(30):
            images[k] = np.frombuffer(encoded(COLOR[k]), np.uint8)
    check(imported(tmp_path / "x.h5")[0], COLOR.transpose(0, 3, 1, 2), {"train": slice(0, 30)})
    assert imported(tmp_path / "x.h5", size=(4, 4))[0].splits["train"][0].shape == (30, 3, 4, 4)
    with h5py.File(tmp_path / "x.h5", "a") as file:
        file["images"][7] = np.zeros(9, np.uint8)
    with pytest.raises(DataError, match=r"images\[7\] cannot be read as an image"):
        imported(tmp_path / "x.h5")


def test_a_test_split_without_labels(tmp_path):
    found, _ = imported(
        hdf5(
            tmp_path / "x.h5",
            **{"train/images": GRAY[TRAIN], "train/labels": LABELS[TRAIN], "test/images": GRAY[TEST]},
        )
    )
    assert found.splits["test"][1] is None


def test_splits_in_an_attribute(tmp_path):
    kind = [("split", "S5"), ("source", "S8"), ("start", "i8"), ("stop", "i8")]
    rows = [
        (split, b"features", part.start, part.stop) for split, part in ((b"train", TRAIN), (b"test", TEST))
    ]
    with h5py.File(hdf5(tmp_path / "x.hdf5", features=GRAY[:, None], targets=LABELS[:, None]), "a") as file:
        file.attrs["split"] = np.array(rows, dtype=kind)
    check(imported(tmp_path / "x.hdf5")[0])
    with h5py.File(tmp_path / "x.hdf5", "a") as file:
        file.attrs["split"] = "none of this kind"
    check(imported(tmp_path / "x.hdf5")[0], parts={"train": slice(0, 30)})


def test_names_that_are_not_utf8(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["images"], file[b"\xff"] = GRAY, LABELS
    with pytest.raises(DataError, match="a name that is not text in UTF-8"):
        imported(tmp_path / "x.h5")


# ---- what is open, and its remedies ----


def test_open_axes_are_asked_and_the_remedy_works(tmp_path):
    bands = RANDOM.random((30, 8, 9, 10))
    np.savez(tmp_path / "x.npz", images=bands, labels=LABELS)
    with pytest.raises(DataError, match=r"--layout NHWC .10 channels of 8 x 9. or --layout NCHW"):
        imported(tmp_path / "x.npz")
    check(
        imported(tmp_path / "x.npz", layout="NHWC")[0],
        bands.transpose(0, 3, 1, 2).astype("f4"),
        {"train": slice(0, 30)},
    )
    with pytest.raises(UserError, match="--layout 'NXY' is not valid"):
        imported(tmp_path / "x.npz", layout="NXY")


def test_flattened_images(tmp_path):
    np.savez(tmp_path / "x.npz", X=GRAY[:, :8, :8].reshape(30, 64), y=LABELS)
    with pytest.raises(DataError, match="--layout NHW:8x8"):
        imported(tmp_path / "x.npz")
    check(imported(tmp_path / "x.npz", layout="NHW:8x8")[0], GRAY[:, None, :8, :8], {"train": slice(0, 30)})


def test_open_names_are_asked_and_the_remedy_works(tmp_path):
    np.savez(tmp_path / "x.npz", sen1=GRAY, sen2=GRAY + 1, label=LABELS)
    with pytest.raises(
        DataError, match=r"none for train images and label for train labels.*--images NAME --labels NAME"
    ):
        imported(tmp_path / "x.npz")
    found, notes = imported(tmp_path / "x.npz", images="sen2", labels="label")
    check(found, GRAY[:, None] + 1, {"train": slice(0, 30)})
    assert notes == ["not used: sen1"]
    with pytest.raises(DataError, match="no array sen3; it has label"):
        imported(tmp_path / "x.npz", images="sen3")


def test_identifiers_are_mapped_when_asked(tmp_path):
    np.savez(tmp_path / "x.npz", images=GRAY, labels=LABELS * 1000 + 100_000)
    with pytest.raises(DataError, match="--map-labels"):
        imported(tmp_path / "x.npz")
    found, _ = imported(tmp_path / "x.npz", map_labels=True)
    check(found, parts={"train": slice(0, 30)})
    assert found.classes == ("100000", "101000", "102000")


def test_text_as_labels(tmp_path):
    np.savez(tmp_path / "x.npz", images=GRAY, labels=np.array(["dog", "cat", "ape"])[LABELS])
    found, _ = imported(tmp_path / "x.npz")
    assert found.classes == ("ape", "cat", "dog")
    assert found.splits["train"][1].tolist() == (2 - LABELS).tolist()


ROWS = np.stack([LABELS > 0, LABELS < 2, LABELS == 1], 1)
TASKS = {"multilabel": ROWS, "regress": ROWS * [0.5, 2, 1] + 3}


@pytest.mark.parametrize("task", TASKS)
def test_rows_of_labels_and_measures(tmp_path, task):
    """The file says its task, and is read back with the same rows under the same seal."""
    np.savez(tmp_path / "x.npz", images=GRAY, labels=TASKS[task])
    found, _ = imported(tmp_path / "x.npz", test_split=0.2)
    assert (found.task, found.classes) == (task, ("0", "1", "2"))
    writer.write(tmp_path / "a.h5", found)
    data = load(tmp_path / "a.h5", SerialComm())
    assert data.task == task
    rows = np.concatenate([data.train.labels, data.test.labels])
    assert sorted(rows.tolist()) == sorted(TASKS[task].tolist())
    with pytest.raises(
        DataError, match="--map-labels makes classes of values: leave it out, or --task regress"
    ):
        imported(tmp_path / "x.npz", task="regress", map_labels=True)


OTHERS = {
    "one array": ({"images": GRAY}, "alone; wanted images and labels: put both into one folder"),
    "no number": ({"images": GRAY + np.nan, "labels": LABELS}, r"images\[0\] has a pixel that is nan"),
    "other numbers": ({"images": GRAY, "labels": LABELS[:7]}, "labels"),
    "masks": ({"images": GRAY, "labels": GRAY > 9}, "labels an image, as masks have"),
    "several labels": ({"images": GRAY, "labels": np.ones((30, 4), np.uint8)}, "several labels a sample"),
    "text as images": ({"images": np.array(["a", "b"]), "labels": LABELS[:2]}, "images"),
    "options": ({"images": GRAY, "labels": LABELS}, "so --gray does not apply; leave it out"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_cannot_be_imported_is_said(tmp_path, name):
    arrays, words = OTHERS[name]
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(DataError, match=words) as caught:
        imported(tmp_path / "x.npz", gray=name == "options", task="classify")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "kind", "split"),
    [
        ("X", "images", None),
        ("data.h5/train/images", "images", "train"),
        ("train_data.npz/y_val", "labels", "validation"),
        ("labels.npy/test/x", "images", "test"),
        ("label_names", "classes", None),
        ("testTarget", "labels", "test"),
        ("index", None, None),
        ("train_test", None, None),
    ],
)
def test_names_say_what_arrays_are(name, kind, split):
    assert (mentioned_kind(name), mentioned_split(name)) == (kind, split)


def test_the_name_of_a_file_says_what_its_only_array_is():
    found = choose("a", {"images.h5/a": (3, 4, 4), "labels.h5/b": (3,)})
    assert found.splits == {"train": ("images.h5/a", "labels.h5/b")}
    found = choose("a", {"data.h5/x": (3, 4, 4), "data.h5/y": (3,), "data.h5/index": (3,)})
    assert (found.splits, found.ignored) == ({"train": ("data.h5/x", "data.h5/y")}, ("data.h5/index",))


def test_several_arrays_of_one_use_are_asked_about():
    with pytest.raises(DataError, match="x, data for train images"):
        choose("a", {"x": (3, 4, 4), "data": (3, 4, 4), "y": (3,)})


# ---- pickles ----


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('a pickle was run')",)


def test_pickles_are_never_opened(tmp_path):
    np.save(tmp_path / "images.npy", np.array([Evil()]), allow_pickle=True)
    np.save(tmp_path / "labels.npy", LABELS)
    with pytest.raises(DataError, match="holds Python objects, which are pickled and can run code"):
        read_source(tmp_path)
    np.savez(tmp_path / "x.npz", images=np.array([Evil()]), labels=LABELS[:1])
    with pytest.raises(DataError, match="can run code"):
        read_source(tmp_path / "x.npz")
    batches = tmp_path / "cifar/cifar-10-batches-py"
    batches.mkdir(parents=True)
    (batches / "data_batch_1").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(
        DataError, match=r"pickles, which can run code; wanted its binary version: .*cifar-10-binary"
    ):
        read_source(tmp_path / "cifar")


# ---- IDX and STL-10 ----


def test_idx_of_the_training_split_alone(tmp_path):
    source = folder(tmp_path / "x")
    for name in MNIST[2:]:
        (source / name).unlink()
    found, _ = imported(source, test_split=0.5)
    assert {split: len(images) for split, (images, _) in found.splits.items()} == {"train": 3, "test": 3}
    (source / MNIST[3]).write_bytes(b"")
    with pytest.raises(DataError, match="no test images"):
        imported(source)


def test_idx_in_archives(tmp_path):
    source = folder(tmp_path / "x")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        for name in MNIST:
            file.writestr(f"MNIST/raw/{name}.gz", gzip.compress((source / name).read_bytes()))
    found, _ = imported(tmp_path / "x.zip")
    np.testing.assert_array_equal(found.splits["train"][0], IDX_IMAGES[:, None])
    np.testing.assert_array_equal(found.splits["test"][1], IDX_LABELS[2:])


def test_labels_of_qmnist(tmp_path):
    rows = np.arange(48, dtype=">i4").reshape(6, 8)
    rows[:, 0] = IDX_LABELS
    labels = struct.pack(">HBB2I", 0, 12, 2, 6, 8) + rows.tobytes()
    contents = {
        "qmnist-train-images-idx3-ubyte.gz": idx(IDX_IMAGES),
        "qmnist-train-labels-idx2-int.gz": labels,
    }
    found, _ = imported(write(tmp_path, {name: gzip.compress(content) for name, content in contents.items()}))
    assert found.splits["train"][1].tolist() == IDX_LABELS.tolist()
    rows[0, 0] = -1
    (tmp_path / "qmnist-train-labels-idx2-int.gz").write_bytes(gzip.compress(labels[:12] + rows.tobytes()))
    with pytest.raises(DataError, match="holds labels from -1"):
        imported(tmp_path)


def stl(images, labels):
    """Return the contents of STL-10's two files; images: [n, 3, 96, 96]."""
    return {"train_X.bin": images.swapaxes(2, 3).tobytes(), "train_y.bin": bytes(labels)}


def test_stl_10(tmp_path):
    images = RANDOM.integers(0, 256, (4, 3, 96, 96), np.uint8)
    found, notes = imported(write(tmp_path, stl(images, [1, 10, 3, 2]) | {"unlabeled_X.bin": b""}))
    np.testing.assert_array_equal(found.splits["train"][0], images)
    assert found.splits["train"][1].tolist() == [0, 9, 2, 1]
    assert found.classes[9] == "truck"
    assert notes == ["not used: unlabeled_X.bin, images without labels"]
    for labels, words in (([1, 2], "for each label"), ([0, 1, 2, 3], "labels from 0 to 3; wanted 1 to 10")):
        with pytest.raises(DataError, match=words):
            imported(write(tmp_path, stl(images, labels)))


# ---- damage ----


@pytest.mark.parametrize("cut", [0, 5, 30, 100, 1000])
def test_npy_that_is_cut_off(tmp_path, cut):
    write(tmp_path, {"images.npy": npy(GRAY)[:cut], "labels.npy": npy(LABELS)})
    with pytest.raises(DataError) as caught:
        read_source(tmp_path)
    assert "\n" not in str(caught.value)


def test_npz_that_swells_is_refused(tmp_path):
    with (
        zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as file,
        file.open("images.npy", "w", force_zip64=True) as member,
    ):
        member.write(npy(np.zeros(0, np.uint8))[:64])
        for _ in range(40):
            member.write(bytes(2**23))
    with pytest.raises(DataError, match="256 MiB is the limit for an archive of its size"):
        read_source(tmp_path / "x.npz")
