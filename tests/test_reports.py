"""What a report says of a net that classifies, compared with naive formulas; the same on any number of ranks."""

import json

import numpy as np
import pytest

from distcnn import Net
from distcnn.data.splits import Split
from distcnn.layers import Dense, Flatten
from distcnn.parallel.serial import SerialComm
from distcnn.reports import classification, confusion, mistakes, text
from distcnn.reports.classification import Classification, places
from distcnn.reports.subject import Subject
from distcnn.training.report import report_on
from distcnn.training.workers import WorkerPool
from tests.helpers.arrays import normal

SAMPLES, CLASSES = 203, 5
ABSENT, UNPREDICTED = 3, 1  # a class without samples, and one that is never predicted
NAMES = ("a", "b", "c", "d", "e")


def outputs(samples=SAMPLES, classes=CLASSES):
    """Return logits with ties, their softmax, and labels."""
    random = np.random.default_rng(0)
    logits = random.integers(-4, 4, (samples, classes)).astype(np.float32)
    logits[:, UNPREDICTED] = -9
    powers = np.exp(logits)
    labels = random.integers(0, classes, samples)
    labels[labels == ABSENT] = 0
    return logits, powers / powers.sum(axis=1, keepdims=True), labels.astype(np.int32)


def subject(outputs=CLASSES):
    """Return what a report is about: classes with their numbers as names."""
    return Subject([str(k) for k in range(outputs)], SAMPLES, np.float32([[0] * outputs, [1] * outputs]))


def collected(logits, probabilities, labels, size=16):
    """Return what is collected of samples, `size` at a time."""
    made = Classification(subject(logits.shape[1]))
    for start in range(0, len(labels), size):
        part = slice(start, start + size)
        made.add(logits[part], probabilities[part], labels[part], np.arange(len(labels))[part])
    made.merge(SerialComm())
    return made


def naive(logits, probabilities, labels):
    """Return what the report must say, sample by sample."""
    classes, n = logits.shape[1], len(labels)
    order = [sorted(range(classes), key=lambda k: (-row[k], k)) for row in logits]
    predicted = [each[0] for each in order]
    matrix = [[0] * classes for _ in range(classes)]
    for label, found in zip(labels, predicted, strict=True):
        matrix[label][found] += 1
    support, predictions = np.sum(matrix, axis=1), np.sum(matrix, axis=0)
    right = np.diag(matrix)
    wrong = [k for k in range(n) if predicted[k] != labels[k]]
    worst = sorted(wrong, key=lambda k: (probabilities[k, labels[k]], k))[: mistakes.MOST]
    return {
        "confusion": matrix,
        "precision": [right[k] / predictions[k] if predictions[k] else None for k in range(classes)],
        "recall": [right[k] / support[k] if support[k] else None for k in range(classes)],
        "support": support.tolist(),
        "top": {
            k: np.mean([label in row[:k] for label, row in zip(labels, order, strict=True)])
            for k in (1, 2, 3)
        },
        "worst": worst,
        "predicted": predicted,
    }


def test_the_report_is_that_of_naive_formulas():
    given = outputs()
    record, wanted = collected(*given).record, naive(*given)
    for name in ("confusion", "precision", "recall", "support"):
        assert record[name] == wanted[name], name
    assert record["precision"][UNPREDICTED] is None
    assert record["recall"][ABSENT] is None
    assert record["f1"][UNPREDICTED] == 0
    for k, (precision, recall) in enumerate(zip(record["precision"], record["recall"], strict=True)):
        if precision and recall:
            assert record["f1"][k] == pytest.approx(2 / (1 / precision + 1 / recall))
    assert record["top_accuracy"] == {str(k): found for k, found in wanted["top"].items()}
    there = [found for found in wanted["recall"] if found is not None]
    assert record["balanced_accuracy"] == pytest.approx(np.mean(there))
    assert [row["sample"] for row in record["mistakes"]] == wanted["worst"]
    for row in record["mistakes"]:
        k = row["sample"]
        assert (row["label"], row["predicted"]) == (given[2][k], wanted["predicted"][k])
        assert row["probability"] == given[1][k, row["predicted"]]
        assert row["label_probability"] == given[1][k, row["label"]]


def test_scores_are_those_of_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics")
    logits, probabilities, labels = outputs()
    record, predicted = collected(logits, probabilities, labels).record, np.argmax(logits, axis=1)
    found = sklearn.precision_recall_fscore_support(labels, predicted, labels=range(CLASSES), zero_division=0)
    for name, values in zip(("precision", "recall", "f1", "support"), found, strict=True):
        assert [value or 0 for value in record[name]] == pytest.approx(values)
    assert record["macro_f1"] == pytest.approx(sklearn.f1_score(labels, predicted, average="macro"))
    assert record["balanced_accuracy"] == pytest.approx(sklearn.balanced_accuracy_score(labels, predicted))


def test_the_calibration_error_is_that_of_the_formula():
    logits, probabilities, labels = outputs()
    record = collected(logits, probabilities, labels).record
    sure, right = probabilities.max(axis=1).astype(float), np.argmax(logits, axis=1) == labels
    error = 0.0
    for k in range(15):
        inside = (sure > k / 15) & (sure <= (k + 1) / 15)
        error += abs(right[inside].sum() - sure[inside].sum()) / SAMPLES
        assert record["calibration"]["samples"][k] == inside.sum()
    assert record["calibration_error"] == pytest.approx(error, abs=1e-9)


def test_places_follow_the_order_of_prediction():
    logits = np.float32([[1, 3, 3, 2]] * 4)
    assert places(logits, np.arange(4)).tolist() == [3, 0, 1, 2]


def test_order_and_size_of_parts_change_nothing(monkeypatch):
    """Nor does it matter when pairs are counted."""
    given = outputs()
    wanted = collected(*given).record
    monkeypatch.setattr(confusion, "PENDING", 3)
    assert collected(*given, size=7).record == wanted
    backwards = np.arange(SAMPLES)[::-1]
    made = Classification(subject())
    for k in backwards:
        made.add(*(each[k : k + 1] for each in (*given, np.arange(SAMPLES))))
    made.merge(SerialComm())
    assert made.record == wanted


def test_many_classes_have_no_matrix(monkeypatch):
    given = outputs()
    wanted = collected(*given).record
    monkeypatch.setattr(classification, "LARGEST", CLASSES - 1)
    record = collected(*given).record
    assert record.pop("confusion") is None
    assert record == {key: value for key, value in wanted.items() if key != "confusion"}
    shown = [
        " ".join(text.of_classes({**record, "confusion": None}, 100)),
        " ".join(text.of_classes(wanted, 100)),
    ]
    assert shown[0] == shown[1]  # the pairs of few classes are all among the most frequent ones


SPLIT = Split(normal(SAMPLES, 1, 3, 3), np.arange(SAMPLES, dtype=np.int32) % CLASSES)


@pytest.fixture(scope="module")
def net():
    return Net([Flatten(), Dense(CLASSES)], (1, 3, 3), seed=1)


@pytest.mark.mpi(ranks=(1, 3))
@pytest.mark.parametrize("threads", [1, 2])
def test_a_report_is_the_same_on_any_number_of_ranks_and_threads(comm, net, threads):
    found = report_on(WorkerPool(net, threads), SPLIT, NAMES, {"split": "test"}, comm)
    assert (found is None) == (comm.rank > 0)
    if found:
        wanted = report_on(WorkerPool(net), SPLIT, NAMES, {"split": "test"}, SerialComm())
        assert json.dumps(found.record) == json.dumps(wanted.record)
        logits = net.predict(SPLIT.images)
        assert found.record["confusion"] == naive(logits, logits, SPLIT.labels)["confusion"]
        worst = [row["sample"] for row in found.record["mistakes"]]
        assert found.images.tobytes() == SPLIT.images[worst].tobytes()


# ---- text ----


def record_of(classes, samples=400):
    """Return the report on a net for many classes."""
    return collected(*outputs(samples, classes)).record


@pytest.mark.parametrize("width", [40, 80])
def test_the_table_is_short_and_narrow(width):
    lines = list(text.of_classes(record_of(100), width))
    assert len(lines) == 2 + text.ROWS + 1
    assert lines[-1] == "... and 80 more classes"
    assert max(map(text.columns, lines[1:])) <= width


def test_the_worst_classes_come_first():
    given = outputs()
    record = collected(*given).record
    lines = list(text.of_classes(record, 100))[2:]
    assert [line.split()[0] for line in lines][-1] == str(ABSENT)
    f1 = [line.split()[3] for line in lines[:-1]]
    assert f1 == sorted(f1, key=lambda cell: float(cell.strip("%")))
    row = np.array(record["confusion"][0])
    row[0] = 0
    most = int(np.argmax(row))
    (line,) = (line for line in lines if line.startswith("0 "))
    assert f"  {most} ({row[most]})" in line


def test_names_in_any_script_stay_in_their_columns():
    record = collected(*outputs()).record | {
        "classes": ["飛行機", "e\u0301te\u0301", "\x1b[2Jx", "y" * 99, "z"]
    }
    head, *lines = list(text.of_classes(record, 200))[1:]
    end = text.columns(head[: head.index("precision") + len("precision")])
    for line in lines:
        (cut,) = (line[:k] for k in range(len(line)) if text.columns(line[:k]) == end and line[k] == " ")
        assert cut[-1] in "%-"
        assert "\x1b" not in line


def test_columns_of_a_terminal():
    assert [text.columns(each) for each in ("abc", "飛行機", "e\u0301", "a\u200db")] == [3, 6, 1, 2]
    assert text.shortened("飛行機飛行機", 9) == "飛行機..."
    assert text.shortened("abc", 3) == "abc"
