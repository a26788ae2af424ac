"""Labels as people store them: which class each value is, and what is refused because it is something else."""

import numpy as np
import pytest

from distcnn.data.labels import understand
from distcnn.errors import DataError

CLASSES = np.array([2, 0, 1, 1, 2, 0])
N = len(CLASSES)
TEXTS = np.array(["cat", "ant", "bee"])
SAMES = ["0", "1", "2"]

# The labels as they are stored, and the names of the classes that they give; the classes are always CLASSES.
UNDERSTOOD = {
    "numbers": (CLASSES, None),
    "big-endian numbers": (CLASSES.astype(">u2"), None),
    "a column": (CLASSES[:, None], None),
    "a row": (CLASSES[None], None),
    "four axes": (CLASSES.reshape(-1, 1, 1, 1), None),
    "whole floats": (CLASSES.astype("f4"), None),
    "one-hot integers": (np.eye(3, dtype=int)[CLASSES], SAMES),
    "one-hot floats": (np.eye(3)[CLASSES], SAMES),
    "one-hot booleans": (np.eye(3, dtype=bool)[CLASSES], SAMES),
    "one-hot columns": (np.eye(3)[CLASSES].T, SAMES),
    "one-hot, a class without samples": (np.eye(5)[CLASSES], [*SAMES, "3", "4"]),
    "one-hot, four axes": (np.eye(3)[CLASSES][:, None, :, None], SAMES),
    "text": (np.sort(TEXTS)[CLASSES], ["ant", "bee", "cat"]),
    "bytes": (np.sort(TEXTS).astype("S5")[CLASSES], ["ant", "bee", "cat"]),
    "objects": (np.sort(TEXTS).astype(object)[CLASSES], ["ant", "bee", "cat"]),
    "text with blanks": (np.array(["ant ", " bee", "cat"])[CLASSES], ["ant", "bee", "cat"]),
    "numbers as text": (np.array(["9", "10", "x"])[CLASSES], ["9", "10", "x"]),
}


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_values_become_classes(name):
    labels, names = UNDERSTOOD[name]
    coding = understand({"y": labels}, {"y": N})
    assert coding.classes == (None if names is None else tuple(names))
    numbers = coding.numbers("y", labels, N)
    assert numbers.tolist() == CLASSES.tolist()
    assert numbers.dtype == np.int64


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (CLASSES > 0, ("False", "True")),
        (np.where(CLASSES > 0, 1, -1), ("-1", "1")),
        (np.where(CLASSES > 0, 1.0, -1.0), ("-1", "1")),
    ],
    ids=["boolean", "signs", "float signs"],
)
def test_two_classes(labels, names):
    coding = understand({"y": labels}, {"y": N})
    assert coding.classes == names
    assert coding.numbers("y", labels, N).tolist() == (CLASSES > 0).tolist()
    assert understand({"y": labels}, {"y": N}, ("no", "yes")).classes == ("no", "yes")


def test_identifiers_are_mapped_on_request():
    identifiers = CLASSES.astype("i4") * 10007 + 100000
    with pytest.raises(DataError, match=r"y\[0\] is 120014; wanted 0 to 65535.*--map-labels"):
        understand({"y": identifiers}, {"y": N})
    coding = understand({"y": identifiers}, {"y": N}, mapped=True)
    assert coding.classes == ("100000", "110007", "120014")
    assert coding.numbers("y", identifiers, N).tolist() == CLASSES.tolist()


def test_splits_share_their_classes():
    train, test = np.array(["dog", "ant"]), np.array(["bee"])
    coding = understand({"train": train, "test": test}, {"train": 2, "test": 1})
    assert coding.classes == ("ant", "bee", "dog")
    assert coding.numbers("test", test, 1).tolist() == [1]
    ones = {"train": np.array([1, 1]), "test": np.array([-1, 1])}
    assert understand(ones, {"train": 2, "test": 2}).numbers("train", ones["train"], 2).tolist() == [1, 1]


def test_names_that_the_source_has_order_its_texts():
    coding = understand({"y": np.array(["b", "a"])}, {"y": 2}, ("c", "b", "a"))
    assert coding.numbers("y", np.array(["a", "c"]), 2).tolist() == [2, 0]
    with pytest.raises(DataError, match=r"y\[0\] is 'd'; wanted one of 3 classes, c, b, a"):
        understand({"y": np.array(["d"])}, {"y": 1}, ("c", "b", "a"))


def test_identifiers_of_a_run_are_found_by_its_names():
    some = np.array([20014, 20014])
    coding = understand({"y": some}, {"y": 2}, ("10007", "20014"), mapped=True)
    assert coding.numbers("y", some, 2).tolist() == [1, 1]
    assert coding.classes == ("10007", "20014")


several = np.eye(3, dtype=int)[CLASSES]
several[4, 0] = 1
none = np.eye(3, dtype=int)[CLASSES]
none[3] = 0
halves = CLASSES / 1
halves[2] = 0.25

REFUSED = {
    "several labels": (several, "several labels a sample: row 4 has 2 ones of 3"),
    "no label": (none, "several labels a sample: row 3 has 0 ones of 3"),
    "several numbers": (np.stack([CLASSES, CLASSES + 5], 1), "2 numbers a sample, such as 2"),
    "measures": (halves, r"y\[2\] is 0.25, a measure; wanted classes"),
    "measures in columns": (np.stack([halves, halves], 1), r"y\[2, 0\] is 0.25, a measure"),
    "nan": (np.where(CLASSES > 1, np.nan, CLASSES), r"y\[0\] is nan, a measure"),
    "masks": (np.zeros((N, 8, 8), int), "64 labels an image, as masks have.*no segmentation"),
    "another number": (CLASSES[:5], r"wanted \(6,\), a label for each of 6 images"),
    "negative": (CLASSES - 1, r"y\[1\] is -1; wanted 0 to 65535"),
    "empty text": (np.array(["a", "", "b", "a", "b", "a"]), r"y\[1\] is ''; wanted a number, or text"),
    "other encodings": (np.array([b"a", b"\xff"] * 3), r"y\[1\] is b'\\xff'"),
    "complex": (CLASSES * 1j, "no numbers and no text, but complex128"),
    "texts in columns": (np.array([["a", "b"]] * N), "2 texts a sample; wanted one"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_values_that_are_no_classes_are_refused(name):
    labels, words = REFUSED[name]
    with pytest.raises(DataError, match=words) as raised:
        understand({"y": labels}, {"y": N})
    assert "\n" not in str(raised.value)


def test_splits_of_different_kinds_are_refused():
    with pytest.raises(DataError, match="test holds text labels, train numbers"):
        understand({"train": CLASSES, "test": np.array(["a"])}, {"train": N, "test": 1})
    coding = understand({"y": CLASSES}, {"y": N})
    with pytest.raises(DataError, match="z holds text labels; wanted numbers"):
        coding.numbers("z", np.array(["a"]), 1)
