"""Pictures from cameras, scanners and microscopes: nothing is turned, cut or dropped without a word."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from distcnn.data.importers.importer import Options
from distcnn.data.importers.pictures import Format, Unusable, decode, inspect
from distcnn.data.importers.sources import read_source
from distcnn.errors import DataError
from tests.helpers import jobs
from tests.helpers.pictures import encoded, plain, png16, write

COLOR = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
DEEP = (np.arange(24, dtype=np.uint16) * 2790).reshape(4, 6)
TURNS = {  # by EXIF orientation: what the stored pixels are shown as
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: np.rot90(x),
}


def turned(orientation, name="a.png"):
    exif = Image.Exif()
    exif[274] = orientation
    return encoded(COLOR, name, exif=exif)


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_pictures_are_turned_upright(orientation, name):
    content, wanted = turned(orientation, name), TURNS[orientation](COLOR)
    found = decode(content, Format())
    np.testing.assert_array_equal(found.pixels, wanted.transpose(2, 0, 1))
    assert found.remarks == (() if orientation == 1 else ("turned",))
    header = inspect(content)
    assert (header.height, header.width) == wanted.shape[:2]


def test_a_wrong_orientation_is_none():
    for orientation in (0, 9, 77):
        np.testing.assert_array_equal(decode(turned(orientation), Format()).pixels, COLOR.transpose(2, 0, 1))


def test_16_bits_are_kept_or_scaled():
    content = encoded(DEEP)
    kept = decode(content, Format()).pixels
    assert kept.dtype == np.float32
    np.testing.assert_array_equal(kept[0], DEEP / np.float32(65535))
    assert len(np.unique(kept)) == 24
    scaled = decode(content, Format(pixels="uint8")).pixels
    np.testing.assert_array_equal(scaled[0], np.rint(DEEP / 257).astype(np.uint8))
    for name in ("a.tif", "a.ppm"):
        np.testing.assert_array_equal(decode(encoded(Image.fromarray(DEEP), name), Format()).pixels, kept)
    three = decode(content, Format(channels=3, size=(4, 6))).pixels
    np.testing.assert_array_equal(three, np.repeat(kept, 3, axis=0))


def test_16_bits_in_color_are_cut_only_when_asked():
    content = png16(COLOR.astype(np.uint16) * 700)
    with pytest.raises(Unusable, match="16 bits per channel in color"):
        decode(content, Format())
    found = decode(content, Format(pixels="uint8")).pixels
    np.testing.assert_array_equal(found, (COLOR.astype(np.uint16) * 700 >> 8).transpose(2, 0, 1))


def test_floats_stay_as_they_are_and_are_finite():
    values = np.linspace(-2, 3, 24, dtype=np.float32).reshape(4, 6)
    np.testing.assert_array_equal(decode(encoded(values, "a.tif"), Format()).pixels[0], values)
    with pytest.raises(Unusable, match="--pixels uint8 does not scale"):
        decode(encoded(values, "a.tif"), Format(pixels="uint8"))
    values[2, 3] = np.inf
    with pytest.raises(Unusable, match="not a finite number"):
        decode(encoded(values, "a.tif"), Format())


def test_bytes_become_fractions_when_asked():
    found = decode(encoded(COLOR), Format(pixels="float")).pixels
    np.testing.assert_array_equal(found, COLOR.transpose(2, 0, 1) / np.float32(255))


def bar(height, width):
    """Return a picture with a white bar in its middle, a third as wide as it."""
    pixels = np.zeros((height, width), np.uint8)
    pixels[:, width // 3 : width - width // 3] = 255
    return encoded(pixels)


def test_three_ways_to_one_size():
    stretched, cropped, padded = (
        decode(bar(10, 30), Format((10, 10), fit)).pixels[0] for fit in ("stretch", "crop", "pad")
    )
    assert stretched.shape == cropped.shape == padded.shape == (10, 10)
    assert (stretched[:, 0] == 0).all()
    assert (stretched[:, 5] > 200).all()
    assert (cropped == 255).all()
    assert not padded[[0, 1, 2, 7, 8, 9]].any()
    assert padded[5, 5] == 255
    same = Format((4, 6), "crop")
    np.testing.assert_array_equal(decode(encoded(COLOR), same).pixels, COLOR.transpose(2, 0, 1))


@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize("shape", [(1, 200), (200, 1), (1, 1), (7, 3)])
def test_any_shape_fits(fit, shape):
    assert decode(bar(*shape), Format((5, 9), fit)).pixels.shape == (1, 5, 9)


FRAMES = [Image.fromarray(COLOR), Image.fromarray(COLOR[::-1].copy())]
CLEAR = np.concatenate([COLOR, COLOR[..., :1]], axis=2)
TOLD = {
    "pages": (
        {"train/a/x.tif": encoded(FRAMES[0], "a.tif", save_all=True, append_images=FRAMES[1:])},
        "several pages",
    ),
    "frames": (
        {"train/a/x.gif": encoded(FRAMES[0], "a.gif", save_all=True, append_images=FRAMES[1:])},
        "or frames",
    ),
    "alpha": ({"train/a/x.png": encoded(CLEAR)}, "with transparency, which is left out"),
    "turned": ({"train/a/x.png": turned(3)}, "as their EXIF data say"),
}


@pytest.mark.parametrize("name", TOLD)
def test_what_is_dropped_is_told_in_one_line(tmp_path, name):
    contents, words = TOLD[name]
    notes = []
    write(tmp_path, contents | {"train/b/y.png": plain(1, (4, 6, 3))})
    read_source(tmp_path, Options(note=notes.append))
    assert len(notes) == 1
    assert words in notes[0]
    assert f"(first: {next(iter(contents))})" in notes[0]


def test_one_depth_is_wanted_and_the_remedies_work(tmp_path):
    write(tmp_path, {"train/a/1.png": encoded(DEEP), "train/b/2.png": encoded(COLOR[..., 0].copy())})
    with pytest.raises(
        DataError,
        match=r"1\.png has 16 bits per channel, train/b/2.png has 8 .*--pixels uint8 or --pixels float",
    ):
        read_source(tmp_path)
    found = {
        kind: read_source(tmp_path, Options(pixels=kind)).splits["train"][0] for kind in ("uint8", "float")
    }
    assert [images.dtype for images in found.values()] == [np.uint8, np.float32]
    np.testing.assert_allclose(found["float"] * 255, found["uint8"], atol=0.5)


# ---- damage ----


def damaged(tmp_path):
    good = {f"train/{c}/{k}.png": plain(k) for c in "ab" for k in (1, 2)}
    bad = {"train/a/3.png": plain(3)[:40], "train/b/0.jpg": b"", "test/a/1.png": b"?" * 99}
    return write(tmp_path, good | bad | {"test/b/1.png": plain(9)})


def test_all_damaged_pictures_are_listed(tmp_path):
    notes = []
    with pytest.raises(DataError, match="3 images cannot be used, listed above: --skip-damaged") as caught:
        read_source(damaged(tmp_path), Options(note=notes.append))
    assert "\n" not in str(caught.value)
    assert [note.split()[0] for note in notes] == ["test/a/1.png", "train/a/3.png", "train/b/0.jpg"]


@pytest.mark.parametrize("processes", [0, 1, 3])
def test_damaged_pictures_are_left_out_when_asked(tmp_path, processes):
    notes = []
    found = read_source(damaged(tmp_path), Options(skip_damaged=True, processes=processes, note=notes.append))
    assert found.splits["train"][0][:, 0, 0, 0].tolist() == [1, 2, 1, 2]
    assert found.splits["train"][1].tolist() == [0, 0, 1, 1]
    assert found.splits["test"][1].tolist() == [1]
    assert len(notes) == 3


def test_a_split_of_damaged_pictures_alone(tmp_path):
    write(tmp_path, {"train/a/1.png": b"", "train/b/1.png": b""})
    with pytest.raises(DataError, match="no image of the training split can be used"):
        read_source(tmp_path, Options(skip_damaged=True))


# ---- processes ----


def test_the_result_does_not_depend_on_the_number_of_processes(tmp_path):
    shapes = [(5, 7), (9, 4), (6, 6)]
    names = {f"train/{'abc'[k % 3]}/{k}.png": plain(k, (*shapes[k % 3], 3)) for k in range(150)}
    write(tmp_path, names | {"train/a/gray.png": plain(7, (5, 5))})
    found = [
        read_source(tmp_path, Options((8, 8), fit="pad", processes=n)).splits["train"] for n in (0, 1, 2, 5)
    ]
    for images, labels in found[1:]:
        np.testing.assert_array_equal(images, found[0][0])
        np.testing.assert_array_equal(labels, found[0][1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_import_leaves_no_process_and_no_file(tmp_path, number):
    write(tmp_path / "x", {f"train/{'ab'[k % 2]}/{k}.png": plain(1, (400, 400, 3)) for k in range(700)})
    words = [sys.executable, "-m", "distcnn.data", "import", str(tmp_path / "x"), str(tmp_path / "x.h5")]
    job = subprocess.Popen(words, stderr=subprocess.PIPE, start_new_session=True)
    children = wait_for(lambda: children_of(job.pid))
    job.send_signal(number)
    job.communicate(timeout=jobs.LIMIT)
    wait_for(lambda: not any(map(alive, children)))
    assert os.listdir(tmp_path) == ["x"]


def wait_for(condition):
    """Return the first true value of a condition."""
    for _ in range(6000):
        if found := condition():
            return found
        time.sleep(0.01)
    raise AssertionError("it does not come true")


def children_of(pid):
    """Return the processes that decode images for a process."""
    found = []
    for each in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{each}/stat") as file, open(f"/proc/{each}/cmdline") as words:
                if int(file.read().rsplit(")", 1)[1].split()[1]) == pid and "process_pool" in words.read():
                    found.append(int(each))
        except OSError:
            pass
    return found


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
