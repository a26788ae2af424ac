"""The pictures of reports: drawn without a warning for few and many classes, names in any script, and any images."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image

from distcnn.parallel.serial import SerialComm
from distcnn.reports import confusion_picture, files, mistakes_picture
from distcnn.reports.figures import RIGHT, WRONG
from distcnn.reports.kinds import KINDS
from distcnn.reports.subject import Subject
from distcnn.system import fonts
from tests.helpers.arrays import normal

SAMPLES = 120
NAMES = ("飛行機", "сорока", "قطة", "a$b$c", "\x1b[2J", "long" * 20)


def report(task, names, samples=SAMPLES, all_right=False):
    """Return the report on outputs that are noise."""
    k = len(names)
    outputs, random = normal(samples, k), np.random.default_rng(0)
    labels = {
        "classify": random.integers(0, k, samples).astype(np.int32),
        "multilabel": random.integers(0, 2, (samples, k)).astype(np.uint8),
        "regress": normal(samples, k, seed=1),
    }[task]
    if all_right:
        outputs[np.arange(samples), labels] += 30
    made = KINDS[task].collect(Subject(names, samples, np.float32([[0] * k, [1] * k])))
    probabilities = {
        "classify": np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True),
        "regress": None,
    }
    made.add(outputs, probabilities.get(task, 1 / (1 + np.exp(-outputs))), labels, np.arange(samples))
    made.merge(SerialComm())
    about = {"task": task, "split": "test", "samples": samples, "data": "a $x^ y$ \x1b", "accuracy": 0.5}
    return about | made.numbers | made.record


def drawn(tmp_path, record, shape=(1, 8, 6), dtype=np.uint8):
    """Return the pictures of a report by name, drawn from its file; a warning of Matplotlib fails the test."""
    images = (100 * np.abs(normal(len(record["mistakes"]), *shape))).astype(dtype)
    files.write(tmp_path, record)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        files.redraw(tmp_path, images)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(files.names_of(record))
    return {path.name: Image.open(path).convert("RGB") for path in tmp_path.glob("*.png")}


def has(picture, color):
    """Return whether a picture has pixels of a color."""
    wanted = np.array([int(color[k : k + 2], 16) for k in (1, 3, 5)])
    return bool((np.abs(np.asarray(picture).astype(int) - wanted).max(axis=-1) < 3).any())


@pytest.mark.parametrize("classes", [6, 70])
def test_pictures_of_classes(tmp_path, classes):
    names = (*NAMES, *map(str, range(classes)))[:classes]
    made = drawn(tmp_path, report("classify", names))
    assert has(made["calibration.png"], RIGHT)
    assert has(made["confusion.png"], WRONG) == (classes > confusion_picture.FEWEST)  # the bars of the list


def test_a_matrix_that_is_left_out(tmp_path):
    record = report("classify", [*map(str, range(30))]) | {"confusion": None}
    assert has(drawn(tmp_path, record)["confusion.png"], WRONG)


def test_neighbors_of_many_classes_share_a_cell(monkeypatch):
    monkeypatch.setattr(confusion_picture, "CELLS", 4)
    shares = np.eye(7)
    shares[0, 5] = 0.01
    colors = confusion_picture._colors(shares)
    assert colors.shape == (4, 4, 3)
    white = (colors == 1).all(axis=-1)
    assert white.tolist() == [[r != c and (r, c) != (0, 2) for c in range(4)] for r in range(4)]


@pytest.mark.parametrize("labels", [1, 50])
def test_pictures_of_labels(tmp_path, labels):
    names = (*NAMES, *map(str, range(labels)))[:labels]
    assert has(drawn(tmp_path, report("multilabel", names), (3, 8, 9))["labels.png"], RIGHT)


@pytest.mark.parametrize("targets", [1, 11])
def test_pictures_of_targets(tmp_path, targets):
    names = (*NAMES, *map(str, range(targets)))[:targets]
    made = drawn(tmp_path, report("regress", names), (5, 8, 9), np.float32)
    assert made["scatter.png"].width > 300


def test_no_mistakes(tmp_path):
    record = report("classify", NAMES[:3], all_right=True)
    assert record["mistakes"] == []
    drawn(tmp_path, record)


@pytest.mark.parametrize("shape", [(1, 1, 90), (3, 90, 2), (2, 5, 5)])
def test_images_of_any_shape(shape):
    images = normal(3, *shape)
    content = mistakes_picture.draw(images, [("above", "below")] * 3, [fonts.USUAL], "title")
    picture = Image.open(io.BytesIO(content))
    assert max(picture.size) < 2000


def test_images_are_seen():
    images = np.zeros((1, 1, 8, 8), np.uint8)
    images[0, 0, :, 4:] = 255
    content = mistakes_picture.draw(images, [("", "")], [fonts.USUAL], "")
    pixels = np.asarray(Image.open(io.BytesIO(content)).convert("L"))
    black = np.argwhere(pixels == 0)
    (top, left), (bottom, right) = black.min(axis=0), black.max(axis=0)
    assert right - left == pytest.approx((bottom - top) / 2, abs=2)
    assert (pixels[top:bottom, right + 3 : right + 20] == 255).all()


def test_a_name_that_no_font_has_becomes_a_number(monkeypatch):
    found = fonts.fonts_for(["сорока", "naïve a\u200db"])
    assert found.families == [fonts.USUAL]
    assert not found.missing
    found = fonts.fonts_for(["\U000f0000"])  # of private use
    assert found.missing == {"\U000f0000"}
    assert fonts.shown(["a", "x\U000f0000"], found) == ["a", "#1"]
    have = {"small.ttf": {"a"}, "more.ttf": {"飛"}}
    entries = [type("Entry", (), {"name": each, "fname": each, "style": "normal"}) for each in have]
    monkeypatch.setattr("matplotlib.font_manager.fontManager.ttflist", entries)
    monkeypatch.setattr(fonts, "_characters", lambda path: have.get(path, set("a")))
    assert fonts.fonts_for(["飛a"]) == ([fonts.USUAL, "more.ttf"], frozenset())
