"""Images and CIFAR's files become a dataset, from folders and archives, and what is wrong is said in one line."""

import io
import random
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from distcnn.data.dataset import load
from distcnn.data.importers import archive, sources
from distcnn.data.importers.importer import Importer, Options
from distcnn.data.importers.sources import read_source
from distcnn.data.importers.writer import Samples, write
from distcnn.errors import DataError
from distcnn.parallel.serial import SerialComm

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (9, 5, 4, 3), np.uint8)
NAMES = [
    "train/dog/b.png",
    "train/10/x.png",
    "train/9/x.png",
    "train/9/deep/a.PNG",
    "train/dog/a.png",
    "test/dog/a.png",
    "test/10/b.bmp",
    "test/10/a.ppm",
]
ORDER = {"train": [3, 2, 1, 4, 0], "test": [7, 6, 5]}  # of NAMES: class 9, 10, dog
LABELS = {"train": [0, 0, 1, 2, 2], "test": [1, 1, 2]}


def picture(pixels, name="a.png", **options):
    """Return an image file's bytes."""
    file = io.BytesIO()
    kind = {"jpg": "JPEG", "ppm": "PPM", "bmp": "BMP"}.get(name.rpartition(".")[2], "PNG")
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


CONTENTS = {name: picture(pixels, name) for name, pixels in zip(NAMES, PIXELS, strict=False)}


def as_folder(path, contents):
    for name, content in contents.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def as_tar(path, contents, compression=""):
    with tarfile.open(path, f"w:{compression}") as file:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path


def as_zip(path, contents):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in contents.items():
            file.writestr(name, content)
    return path


PACKINGS = {
    "folder": as_folder,
    "tar": as_tar,
    "tar.xz": lambda path, contents: as_tar(path, contents, "xz"),
    "tar.gz": lambda path, contents: as_tar(path, contents, "gz"),
    "zip": as_zip,
}


def check(found):
    for split, (images, labels) in found.splits.items():
        np.testing.assert_array_equal(images, PIXELS[ORDER[split]].transpose(0, 3, 1, 2))
        assert labels.tolist() == LABELS[split]
    assert found.classes == ("9", "10", "dog")
    assert set(found.splits) == set(ORDER)


@pytest.mark.parametrize("top", ["", "./", "cats and dogs/v1/"])
@pytest.mark.parametrize("packing", PACKINGS)
def test_images_and_labels_follow_from_the_names(tmp_path, packing, top):
    names = random.Random(packing + top).sample(NAMES, len(NAMES))
    contents = {f"{top}{name}": CONTENTS[name] for name in names}
    contents |= {"README.txt": b"", f"{top}train/.DS_Store": b"?", f"{top}train/dog/._a.png": b"?"}
    if "v1" in top:
        del contents["README.txt"]
    check(read_source(PACKINGS[packing](tmp_path / "source", contents)))


def test_the_command_writes_a_dataset(tmp_path, run):
    source = PACKINGS["tar.xz"](tmp_path / "pets.tar.xz", CONTENTS)
    done = run("python", "-m", "distcnn.data", "import", source, tmp_path / "pets.h5")
    assert done.returncode == 0, done.stderr
    assert "5 train, 3 test images 3 x 5 x 4, 3 classes" in done.stdout
    data = load(tmp_path / "pets.h5", SerialComm())
    assert data.classes == ("9", "10", "dog")
    np.testing.assert_array_equal(data.train.images, PIXELS[ORDER["train"]].transpose(0, 3, 1, 2))
    assert run("python", "-m", "distcnn.data", "info", tmp_path / "pets.h5").returncode == 0


@pytest.mark.parametrize("size", ["0x4", "4", "4x", "-1x3", "10000x1", "٤x4"])
def test_senseless_sizes_are_refused(tmp_path, run, size):
    done = run("python", "-m", "distcnn.data", "import", "a", tmp_path / "b.h5", f"--size={size}")
    assert done.returncode == 2
    assert "wanted HxW" in done.stderr


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    (tmp_path / "out.h5").write_text("precious")
    found = read_source(as_folder(tmp_path / "pets", CONTENTS))
    monkeypatch.setattr("distcnn.data.importers.writer.seal", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write(tmp_path / "out.h5", found)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.h5", "pets"]
    assert (tmp_path / "out.h5").read_text() == "precious"


def test_gray_is_one_channel_where_all_are_gray_or_when_asked(tmp_path):
    gray = {name: picture(PIXELS[k, ..., 0]) for k, name in enumerate(NAMES)}
    found = read_source(as_folder(tmp_path / "gray", gray))
    np.testing.assert_array_equal(found.splits["train"][0][:, 0], PIXELS[ORDER["train"], ..., 0])
    mixed = as_folder(tmp_path / "mixed", gray | {"train/dog/c.png": CONTENTS[NAMES[0]]})
    images = read_source(mixed).splits["test"][0]
    assert images.shape == (3, 3, 5, 4)
    assert (images == images[:, :1]).all()
    assert read_source(mixed, Options(gray=True)).splits["train"][0].shape == (6, 1, 5, 4)


def test_images_of_several_sizes_need_a_size(tmp_path):
    other = CONTENTS | {"train/dog/wide.png": picture(np.full((8, 9, 3), 77, np.uint8))}
    source = as_folder(tmp_path / "pets", other)
    with pytest.raises(DataError, match=r"has 5 x 4 pixels, train/dog/wide.png has 8 x 9 .*--size HxW"):
        read_source(source)
    images, _ = read_source(source, Options((6, 7))).splits["train"]
    assert images.shape == (6, 3, 6, 7)
    assert (images[-1] == 77).all()


def test_a_validation_split_replaces_a_missing_test_split(tmp_path):
    renamed = {name.replace("test/", "val/"): content for name, content in CONTENTS.items()}
    check(read_source(as_folder(tmp_path / "a", renamed)))
    strange = {name.replace("val/10", "val/cow"): x for name, x in renamed.items() if name.startswith("val")}
    check(read_source(as_folder(tmp_path / "b", CONTENTS | strange)))


def test_links_in_a_folder_are_followed_and_those_in_an_archive_are_not(tmp_path):
    source = as_folder(tmp_path / "pets", CONTENTS)
    (source / "train/dog/a.png").rename(tmp_path / "elsewhere.png")
    (source / "train/dog/a.png").symlink_to(tmp_path / "elsewhere.png")
    check(read_source(source))
    with tarfile.open(as_tar(tmp_path / "pets.tar", CONTENTS), "a") as file:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            member = tarfile.TarInfo(f"train/dog/{kind!r}.png")
            member.type, member.linkname = kind, "/etc/passwd"
            file.addfile(member)
    check(read_source(tmp_path / "pets.tar"))


def huge_png():
    """Return a PNG of few bytes that says it has 81 million pixels."""
    header = struct.pack(">IIBBBBB", 9_000, 9_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    packed = [struct.pack(">I", len(x)) + n + x + struct.pack(">I", zlib.crc32(n + x)) for n, x in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


WRONG = {
    "no image": (
        {"train/dog/a.png": b"hello"},
        "train/dog/a.png cannot be read as an image (cannot identify image file): remove it",
    ),
    "cut off": ({"train/dog/z.png": CONTENTS[NAMES[0]][:-40]}, "train/dog/z.png cannot be read as an image"),
    "too many pixels": ({"train/dog/z.png": huge_png()}, "9000 x 9000 pixels; wanted at most"),
    "16 bits": (
        {"train/dog/z.png": picture(PIXELS[0, ..., 0].astype(np.uint16) * 99)},
        "wanted 8 bits per channel",
    ),
    "no class": ({"train/a.png": CONTENTS[NAMES[0]]}, "train/a.png is not in the folder of a class"),
    "a class only in test": (
        {"test/cow/a.png": CONTENTS[NAMES[0]]},
        "of class cow, which train does not have",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_images_are_named(tmp_path, name):
    contents, words = WRONG[name]
    with pytest.raises(DataError) as caught:
        read_source(as_zip(tmp_path / "pets.zip", CONTENTS | contents))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match="no folder train with images in it; wanted train/CLASS/IMAGE"):
        read_source(as_folder(tmp_path / "a", {"dog/a.png": b"", "cat/b.png": b""}))
    with pytest.raises(DataError, match="no folder train with images in it"):  # the same for all
        read_source(as_zip(tmp_path / "a.zip", {"a.png": b"", "a.png/train/dog/b.png": b""}))
    with pytest.raises(DataError, match="holds 1 files, but none of a known format; wanted MNIST"):
        read_source(as_folder(tmp_path / "b", {"train/dog/a.doc": b""}))
    with pytest.raises(DataError, match="No such file"):
        read_source(tmp_path / "nowhere")
    tar = as_tar(tmp_path / "c.tar", CONTENTS | {f"./{NAMES[0]}": CONTENTS[NAMES[0]]})
    with pytest.raises(DataError, match="twice"):
        read_source(tar)


@pytest.mark.parametrize("packing", ["tar.xz", "zip"])
def test_names_that_lead_outside_are_refused(tmp_path, packing):
    with pytest.raises(DataError, match=r"a name that leads outside, '\.\./train/dog/x\.png'"):
        read_source(
            PACKINGS[packing](tmp_path / "pets", CONTENTS | {"../train/dog/x.png": CONTENTS[NAMES[0]]})
        )
    assert [path.name for path in tmp_path.iterdir()] == ["pets"]


@pytest.mark.parametrize("packing", [packing for packing in PACKINGS if packing != "folder"])
def test_damaged_archives_are_refused(tmp_path, packing):
    path = PACKINGS[packing](tmp_path / "pets", CONTENTS)
    content = path.read_bytes()
    for cut in (len(content) // 2, 300, 2, 0):
        path.write_bytes(content[:cut])
        with pytest.raises(DataError):
            read_source(path)


@pytest.mark.parametrize("packing", ["folder", "tar.gz", "zip"])
def test_what_swells_when_unpacked_is_refused(tmp_path, monkeypatch, packing):
    monkeypatch.setattr(archive, "LIMIT", 2**16)
    with pytest.raises(DataError, match=r"train/dog/big\.png is larger than"):
        read_source(PACKINGS[packing](tmp_path / "pets", CONTENTS | {"train/dog/big.png": bytes(2**20)}))


def test_headers_of_any_size_are_not_read_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "LIMIT", 2**16)
    with tarfile.open(tmp_path / "pets.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as file:
        file.addfile(tarfile.TarInfo("train/dog/" + "x" * 2**20))
    with pytest.raises(DataError, match="a header of"):
        read_source(tmp_path / "pets.tar.gz")


# ---- CIFAR ----

RECORDS = RANDOM.integers(0, 256, (7, 3072), np.uint8)


def cifar(first, labels):
    rows = zip(labels, RECORDS[first : first + len(labels)], strict=True)
    return b"".join(bytes(np.atleast_1d(label).tolist()) + row.tobytes() for label, row in rows)


TEN = {
    "cifar-10-batches-bin/batches.meta.txt": b"plane\ncar\n\n",
    "cifar-10-batches-bin/data_batch_10.bin": cifar(3, [1]),
    "cifar-10-batches-bin/test_batch.bin": cifar(4, [1, 0, 1]),
    "cifar-10-batches-bin/data_batch_2.bin": cifar(0, [0, 1, 0]),
}
HUNDRED = {
    "coarse_label_names.txt": b"fish\n",
    "fine_label_names.txt": b"trout\neel\nshark\n",
    "train.bin": cifar(0, [(0, 2), (0, 1), (0, 0), (0, 2)]),
    "test.bin": cifar(4, [(0, 1), (0, 0), (0, 1)]),
}


@pytest.mark.parametrize(
    ("contents", "classes", "labels"),
    [(TEN, ("plane", "car"), [0, 1, 0, 1]), (HUNDRED, ("trout", "eel", "shark"), [2, 1, 0, 2])],
)
@pytest.mark.parametrize("packing", ["folder", "tar.gz"])
def test_cifar_is_read(tmp_path, packing, contents, classes, labels):
    found = read_source(PACKINGS[packing](tmp_path / "source", contents))
    assert found.classes == classes
    np.testing.assert_array_equal(found.splits["train"][0], RECORDS[:4].reshape(4, 3, 32, 32))
    np.testing.assert_array_equal(found.splits["test"][0], RECORDS[4:].reshape(3, 3, 32, 32))
    assert found.splits["train"][1].tolist() == labels


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"test_batch.bin": b"12345"}, "test_batch.bin twice"),
        ({"cifar-10-batches-bin/data_batch_10.bin": b"12345"}, "has 5 bytes; wanted records of 3073"),
        ({"cifar-10-batches-bin/batches.meta.txt": b"plane\n"}, "has a label 1, but names 1 classes"),
        ({"cifar-10-batches-bin/batches.meta.txt": b""}, "the names of the classes"),
    ],
)
def test_wrong_cifar_files_are_refused(tmp_path, change, words):
    with pytest.raises(DataError, match=words):
        read_source(as_folder(tmp_path / "source", TEN | change))


def test_pickles_are_never_read(tmp_path):
    with pytest.raises(DataError, match="pickles, which can run code; wanted its binary version"):
        read_source(
            as_tar(tmp_path / "c.tar", {"cifar-10-batches-py/batches.meta": b"", "data_batch_1": b""})
        )


def test_options_for_images_are_refused_elsewhere(tmp_path):
    with pytest.raises(DataError, match="holds no image files, so --gray"):
        read_source(as_folder(tmp_path / "source", TEN), Options(gray=True))


# ---- the table of importers ----


def test_an_importer_in_the_table_is_recognized_read_and_named_in_the_help(tmp_path, monkeypatch):
    pair = np.zeros((2, 1, 3, 3), np.uint8), np.array([0, 1])

    def read(source, options):
        return Samples({"train": pair}, ("a", "b"))

    ours = Importer("our files", "FILE.ours", lambda source: source.names == ["x.ours"], read)
    monkeypatch.setattr(sources, "IMPORTERS", (*sources.IMPORTERS, ours))
    assert read_source(as_folder(tmp_path / "a", {"x.ours": b""})).classes == ("a", "b")
    assert sources.titles().endswith(", a folder of images for each class or our files")
    with pytest.raises(DataError, match=r"or FILE\.ours"):
        read_source(as_folder(tmp_path / "b", {"x.other": b""}))


def test_the_help_lists_what_can_be_imported(run):
    done = run("python", "-m", "distcnn.data", "import", "--help")
    assert sources.titles() in " ".join(done.stdout.split())
