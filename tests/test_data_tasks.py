"""Which task labels are for: what their values show for certain, what is asked, and remedies that work."""

import math
import re
from fractions import Fraction

import h5py
import numpy as np
import pytest

from distcnn.config.types import AUTO, CLASSIFY, MULTILABEL, REGRESS
from distcnn.data.dataset import load
from distcnn.data.describe import describe
from distcnn.data.label_task import MANY, understand_task
from distcnn.data.statistics import target_statistics
from distcnn.data.wanted import Wanted
from distcnn.errors import DataError
from distcnn.parallel.serial import SerialComm
from tests.helpers.arrays import normal

N = 120
CLASSES = np.arange(N) % 3
ONE_HOT = np.eye(3, dtype=int)[CLASSES]
SEVERAL = ONE_HOT | (np.arange(N)[:, None] % 7 == np.arange(3))
NORMAL = normal(N, 2)


def understood(task, labels, names=None):
    return understand_task(task, {"y": labels}, {"y": len(labels)}, names)


CERTAIN = {
    "numbers": (CLASSES, CLASSIFY),
    "whole floats": (CLASSES / 1, CLASSIFY),
    "text": (np.array(list("abc"))[CLASSES], CLASSIFY),
    "booleans": (CLASSES > 1, CLASSIFY),
    "many one-hot rows": (ONE_HOT, CLASSIFY),
    "several 1 in a row": (SEVERAL, MULTILABEL),
    "booleans in rows": (SEVERAL > 0, MULTILABEL),
    "several 1 among -1": (2 * SEVERAL - 1, MULTILABEL),
    "fractions": (NORMAL[:, 0], REGRESS),
    "fractions in a column": (NORMAL[:, :1], REGRESS),
    "fractions in rows": (NORMAL, REGRESS),
    "fractions among whole numbers": (np.where(CLASSES == 1, 0.5, CLASSES), REGRESS),
}


@pytest.mark.parametrize("name", CERTAIN)
def test_values_show_the_task(name):
    labels, task = CERTAIN[name]
    assert understood(AUTO, labels).task == task


def test_rows_become_what_the_losses_take():
    answers = understood(AUTO, 2 * SEVERAL - 1)
    assert answers.classes == ("0", "1", "2")
    found = answers.numbers("y", 2 * SEVERAL - 1, N)
    assert (found.tolist(), found.dtype) == (SEVERAL.tolist(), np.uint8)
    measures = understood(AUTO, NORMAL, ["width", "height"])
    assert measures.classes == ("width", "height")
    found = measures.numbers("y", NORMAL, N)
    assert (found.tolist(), found.dtype) == (NORMAL.tolist(), np.float32)
    assert understood(REGRESS, CLASSES).numbers("y", CLASSES, N).shape == (N, 1)
    assert understood(MULTILABEL, CLASSES > 1).numbers("y", CLASSES > 1, N).shape == (N, 1)


few = ONE_HOT[: MANY - 1]
some_none = ONE_HOT.copy()
some_none[5] = 0
with_nan = NORMAL.copy()
with_nan[7, 1] = np.nan
years = 2e9 + np.arange(N)[:, None] / N
probabilities = np.abs(NORMAL) / np.abs(NORMAL).sum(axis=1, keepdims=True)

# Labels, the task that the user says, words of the message, and the tasks that it offers and that are then understood.
ASKED = {
    "a few one-hot rows": (few, AUTO, "exactly one 1 in each row of 3", [MULTILABEL, CLASSIFY]),
    "one-hot, with rows of none": (some_none, AUTO, "one 1 or none in each row of 3", [MULTILABEL]),
    "one 1 among -1": (2 * ONE_HOT - 1, AUTO, "one 1 or none in each row of 3", [MULTILABEL]),
    "whole numbers in rows": (
        CLASSES[:, None] + [0, 5],
        AUTO,
        r"2 numbers a sample, such as \[0, 5\]",
        [REGRESS],
    ),
    "probabilities": (probabilities, AUTO, "2 numbers a sample", [REGRESS]),
    "measures for classes": (NORMAL[:, 0], CLASSIFY, "a measure; wanted classes", [REGRESS]),
    "several labels for classes": (SEVERAL, CLASSIFY, "several labels a sample", [MULTILABEL]),
    "numbers in rows for classes": (CLASSES[:, None] + [0, 5], CLASSIFY, "2 numbers a sample", [REGRESS]),
    "classes for labels": (CLASSES, MULTILABEL, r"y\[2, 0\] is 2; wanted 0 or 1 for each label", [CLASSIFY]),
    "text for labels": (CERTAIN["text"][0], MULTILABEL, "wanted 0 or 1 for each label", [CLASSIFY]),
    "measures for labels": (NORMAL, MULTILABEL, "wanted 0 or 1 for each label", [REGRESS]),
    "text for measures": (CERTAIN["text"][0], REGRESS, "the labels y are text; wanted numbers", [CLASSIFY]),
    "booleans for measures": (SEVERAL > 0, REGRESS, "the labels y are boolean; wanted numbers", [MULTILABEL]),
    "NaN": (with_nan, REGRESS, r"y\[7, 1\] is nan; wanted finite numbers.*leave out", []),
    "NaN among classes": (
        np.where(CLASSES == 1, np.nan, CLASSES),
        AUTO,
        "leave out the images without a label",
        [],
    ),
    "beyond float32": (NORMAL.astype(float) * 1e60, REGRESS, "store them in another unit", []),
    "too near each other": (
        years,
        AUTO,
        "column 0 of y varies by 0.289 around .* subtract a constant",
        [],
    ),
}


@pytest.mark.parametrize("name", ASKED)
def test_what_is_open_or_does_not_fit_is_told_with_a_remedy_that_works(name):
    labels, task, words, offered = ASKED[name]
    with pytest.raises(DataError, match=words) as raised:
        understood(task, labels)
    assert "\n" not in str(raised.value)
    assert re.findall("--task ([a-z]+)", str(raised.value)) == offered
    for other in offered:
        assert understood(other, labels).task == other


def test_remedies_that_change_the_labels_work():
    assert understood(AUTO, years - 2e9).task == REGRESS
    assert understood(REGRESS, np.delete(with_nan, 7, 0)).task == REGRESS
    assert understood(CLASSIFY, np.delete(some_none, 5, 0)).task == CLASSIFY


def test_rows_of_splits_must_have_one_width():
    with pytest.raises(
        DataError, match="the labels b have 2 numbers a sample, those in a have 3: store both alike"
    ):
        understand_task(MULTILABEL, {"a": SEVERAL, "b": SEVERAL[:, :2]}, {"a": N, "b": N})
    with pytest.raises(DataError, match="the labels z have 2 numbers a sample; wanted 3, as before"):
        understood(MULTILABEL, SEVERAL).numbers("z", SEVERAL[:, :2], N)


# ---- files ----


def write(path, labels, **attributes):
    images = np.random.default_rng(0).integers(0, 256, (N, 1, 3, 4), np.uint8)  # no two are equal
    with h5py.File(path, "w") as file:
        file["train/images"], file["train/labels"] = images, labels
        file.attrs.update(attributes)
    return path


def loaded(path, task=AUTO, **options):
    return load(path, SerialComm(), wanted=Wanted(task=task), **options)


def test_a_file_may_say_its_task(tmp_path):
    path = write(tmp_path / "a.h5", few_of(ONE_HOT), task=MULTILABEL)
    assert loaded(path).task == MULTILABEL
    with pytest.raises(DataError, match="its attribute task says multilabel: leave --task classify out"):
        loaded(path, CLASSIFY)
    assert loaded(write(tmp_path / "b.h5", CLASSES, task="segmentation")).task == CLASSIFY


def few_of(rows):
    """Return rows that all have their 1 in the first column, but for a few."""
    found = np.zeros_like(rows)
    found[:, 0] = 1
    found[:10] = rows[:10]
    return found


def test_names_in_a_file(tmp_path):
    one_hot = write(tmp_path / "a.h5", few_of(ONE_HOT), classes=["a", "b", "c"])
    assert loaded(one_hot).task == CLASSIFY
    assert loaded(one_hot, MULTILABEL).classes == ("a", "b", "c")
    numbers = write(tmp_path / "b.h5", CLASSES, classes=["a", "b", "c"])
    with pytest.raises(
        DataError, match="has 1 number a sample, but the file names 3 classes: say --task classify, or"
    ):
        loaded(numbers, REGRESS)
    measures = write(tmp_path / "c.h5", NORMAL[:, 0], classes=["a", "b", "c"])
    with pytest.raises(DataError, match="a measure, but the file names classes: remove the names"):
        loaded(measures)
    with h5py.File(measures, "a") as file:
        del file.attrs["classes"]
    assert loaded(measures).task == REGRESS
    assert loaded(write(tmp_path / "d.h5", NORMAL[:, 0], classes=["grams"])).classes == ("grams",)


def test_a_run_s_names_are_those_of_columns_without_names(tmp_path):
    path = str(write(tmp_path / "a.h5", NORMAL))
    assert describe((path,), names=["width", "height"]).coding.classes == ("width", "height")
    assert describe((path,), names=["width"]).coding.classes == ("0", "1")


@pytest.mark.parametrize("labels", [SEVERAL, NORMAL], ids=["answers", "measures"])
def test_splits_and_streaming_keep_rows(tmp_path, labels):
    path = write(tmp_path / "a.h5", labels)
    whole = loaded(path)
    assert whole.train.labels.tolist() == labels.tolist()
    for mode in ("memory", "stream"):
        data = loaded(path, validation=0.25, mode=mode)
        both = np.concatenate([data.train.labels, data.validation.labels])
        assert (len(data.validation.labels), data.task) == (N // 4, whole.task)
        assert sorted(both.tolist()) == sorted(labels.tolist())
        index = {row.tobytes(): k for k, row in enumerate(whole.train.images)}
        images = data.validation.images[np.arange(N // 4)]
        rows = [index[image.tobytes()] for image in images]
        assert data.validation.labels.tolist() == labels[rows].tolist()


# ---- the standardization of targets ----


def test_statistics_of_targets_are_exact():
    targets = (normal(999, 2) * [3, 1e4] + [1e6, -5]).astype(np.float32)
    mean, std = target_statistics(targets)
    for column, found, spread in zip(targets.T, mean, std, strict=True):
        exact = [Fraction(float(x)) for x in column]
        assert found == pytest.approx(float(sum(exact) / 999), rel=1e-15)
        deviations = sum((x - sum(exact) / 999) ** 2 for x in exact)
        assert spread == pytest.approx(math.sqrt(deviations / 999), rel=1e-12)
    for order in (targets[::-1], np.roll(targets, 400, axis=0)):
        assert [each.tolist() for each in target_statistics(order)] == [mean.tolist(), std.tolist()]


def test_a_constant_target_has_the_deviation_1():
    assert target_statistics(np.full((7, 1), 4.0, np.float32)) == (4.0, 1.0)
