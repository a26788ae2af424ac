"""Metrics and reports of nets that find several labels or predict numbers, compared with naive formulas."""

import json

import numpy as np
import pytest

from distcnn import Net
from distcnn.data.splits import Split
from distcnn.evaluate import summary
from distcnn.layers import Dense, Flatten
from distcnn.numerics.fixed_point import QUANTUM
from distcnn.parallel.serial import SerialComm
from distcnn.reports import regression, text
from distcnn.reports.multilabel import Multilabel
from distcnn.reports.ranking import average_precision
from distcnn.reports.regression import Regression, TargetErrors
from distcnn.reports.subject import Subject
from distcnn.training.evaluation import evaluate
from distcnn.training.report import report_on
from distcnn.training.workers import WorkerPool
from tests.helpers.arrays import normal

SAMPLES, OUTPUTS = 75, 3
NAMES = ("x", "y", "z")


def naive_average_precision(scores, answers):
    """Return the mean of the precision at each sample with the label, where equal scores count together."""
    found = [np.mean(answers[scores >= score]) for score in scores[answers]]
    return np.mean(found) if found else None


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_average_precision(levels):
    random = np.random.default_rng(levels)
    scores = random.integers(0, levels, 60).astype(np.float32)
    answers = random.random(60) < 0.3
    found = average_precision(scores, answers)
    assert found == pytest.approx(naive_average_precision(scores, answers), abs=1e-15)
    order = random.permutation(60)
    assert average_precision(scores[order], answers[order]) == found
    assert average_precision(scores, np.zeros(60, bool)) is None
    assert average_precision(scores, np.ones(60, bool)) == 1


@pytest.mark.parametrize("levels", [2, 1000])
def test_average_precision_is_that_of_scikit_learn(levels):
    sklearn = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(levels)
    scores, answers = random.integers(0, levels, 200).astype(np.float32), random.random(200) < 0.2
    wanted = sklearn.average_precision_score(answers, scores)
    assert average_precision(scores, answers) == pytest.approx(wanted, abs=1e-14)


def collected(kind, subject, outputs, probabilities, labels, size=16):
    """Return what is collected of samples, `size` at a time."""
    made = kind(subject)
    for start in range(0, len(labels), size):
        part, samples = slice(start, start + size), np.arange(len(labels))
        some = None if probabilities is None else probabilities[part]
        made.add(outputs[part], some, labels[part], samples[part])
    made.merge(SerialComm())
    return made


def subject_of(targets=((0, 0, 0), (1, 1, 1))):
    return Subject(NAMES, SAMPLES, np.float32(targets))


def test_labels():
    outputs, labels = normal(SAMPLES, OUTPUTS), (normal(SAMPLES, OUTPUTS, seed=1) > 0.5).astype(np.uint8)
    labels[:, 2] = 0
    outputs[:, 1] -= 9  # never predicted
    probabilities = 1 / (1 + np.exp(-outputs))
    made = collected(Multilabel, subject_of(), outputs, probabilities, labels)
    record, predicted = made.record, outputs > 0
    assert record["support"] == labels.sum(axis=0).tolist()
    assert record["predictions"] == predicted.sum(axis=0).tolist()
    right = (predicted & (labels == 1)).sum(axis=0)
    assert record["precision"] == [right[0] / predicted[:, 0].sum(), None, 0]
    assert record["recall"] == [right[0] / labels[:, 0].sum(), 0, None]
    wanted = [naive_average_precision(outputs[:, k], labels[:, k] == 1) for k in (0, 1)]
    assert record["average_precision"][:2] == pytest.approx(wanted)
    assert record["average_precision"][2] is None
    assert made.numbers["mean_average_precision"] == pytest.approx(np.mean(wanted))
    assert made.numbers["macro_f1"] == pytest.approx(np.mean(record["f1"]))
    assert sum(record["calibration"]["samples"]) == SAMPLES * OUTPUTS
    errors = np.where(labels, -outputs, outputs).max(axis=1)
    worst = sorted(np.flatnonzero(errors > 0), key=lambda k: (-errors[k], k))[:24]
    assert [row["sample"] for row in record["mistakes"]] == worst
    first = record["mistakes"][0]
    assert first["has_label"] == (labels[first["sample"], first["label"]] == 1)
    assert first["has_label"] != (first["probability"] > 0.5)
    lines = list(text.of_labels(record, 100))
    assert lines[2].split()[0] == NAMES[np.argmin(wanted)]  # found worst
    assert lines[-1].startswith("z ")  # without samples


TARGETS = np.float32([[3, -2, 100], [2, 0.5, 30]])


def numbers():
    """Return predictions and targets, of which the last is always the same."""
    targets = normal(SAMPLES, OUTPUTS) * TARGETS[1] + TARGETS[0]
    targets[:, 2] = 7
    return targets + normal(SAMPLES, OUTPUTS, seed=2) * 0.3, targets


def test_targets():
    outputs, targets = numbers()
    made = collected(Regression, subject_of(TARGETS), outputs, None, targets)
    record, errors = made.record, outputs.astype(float) - targets
    found = record["by_target"]
    assert found["mean_absolute_error"] == pytest.approx(np.abs(errors).mean(axis=0))
    assert found["root_mean_squared_error"] == pytest.approx(np.sqrt((errors**2).mean(axis=0)))
    spread = ((targets.astype(float) - targets.mean(axis=0, dtype=float)) ** 2).sum(axis=0)
    wanted = 1 - (errors**2).sum(axis=0)[:2] / spread[:2]
    assert found["r2"][:2] == pytest.approx(wanted)
    assert found["r2"][2] is None
    assert made.numbers["r2"] == pytest.approx(wanted.mean())
    assert made.numbers["mean_absolute_error"] == pytest.approx(np.abs(errors).mean())
    scaled = np.abs(errors / TARGETS[1].astype(float))
    worst = sorted(range(SAMPLES), key=lambda k: (-scaled[k].max(), k))[:24]
    assert [row["sample"] for row in record["mistakes"]] == worst
    row = record["mistakes"][0]
    assert row["output"] == np.argmax(scaled[worst[0]])
    assert (row["target"], row["prediction"]) == (
        targets[worst[0], row["output"]],
        outputs[worst[0], row["output"]],
    )
    assert record["scatter"]["target"] == targets.tolist()
    assert record["scatter"]["prediction"] == outputs.tolist()
    assert [line.split()[0] for line in text.of_targets(record, 100)] == ["target", *NAMES]


def test_many_samples_have_few_points(monkeypatch):
    monkeypatch.setattr(regression, "POINTS", 10)
    outputs, targets = numbers()
    wanted = list(range(0, SAMPLES, 8))
    for size in (16, 5):
        made = collected(Regression, subject_of(TARGETS), outputs, None, targets, size)
        assert made.record["scatter"]["sample"] == wanted


def test_the_order_of_samples_does_not_matter():
    """Nor do numbers that no int64 holds as multiples of 2**-36."""
    outputs, targets = numbers()
    outputs[0], targets[3] = 1e12, -1e13
    order = np.random.default_rng(0).permutation(SAMPLES)
    made = [
        collected(TargetErrors, subject_of(TARGETS), outputs[each], None, targets[each], size)
        for each, size in ((slice(None), 16), (order, 16), (order, 1))
    ]
    assert made[0].by_target == made[1].by_target == made[2].by_target
    assert max(made[0].sums.ravel()) * QUANTUM > 1e23


IMAGES = normal(SAMPLES, 1, 3, 3)


@pytest.fixture(scope="module")
def nets():
    """A net of each task with several outputs, and its samples."""
    made = {}
    rows = {
        "multilabel": (normal(SAMPLES, OUTPUTS, seed=3) > 0).astype(np.uint8),
        "regress": normal(SAMPLES, OUTPUTS, seed=4),
    }
    for task, labels in rows.items():
        net = Net([Flatten(), Dense(OUTPUTS)], (1, 3, 3), seed=1, task=task)
        net.targets.set(*TARGETS) if task == "regress" else None
        made[task] = net, Split(IMAGES, labels)
    return made


@pytest.mark.mpi(ranks=(1, 3))
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("task", ["multilabel", "regress"])
def test_any_number_of_ranks_and_threads(comm, nets, task, threads):
    net, split = nets[task]
    about = {"split": "test"}
    found = report_on(WorkerPool(net, threads), split, NAMES, about, comm)
    if found:
        wanted = report_on(WorkerPool(net), split, NAMES, about, SerialComm())
        assert json.dumps(found.record) == json.dumps(wanted.record)
    measured = evaluate(WorkerPool(net, threads), split, comm)
    assert all(each == measured for each in comm.allgather(measured))
    names = {
        "multilabel": ["loss", "accuracy", "macro_f1", "mean_average_precision"],
        "regress": ["loss", "mean_absolute_error", "r2"],
    }
    assert list(measured) == names[task]
    if found:
        assert measured == found.measured


def test_the_metrics_of_labels_are_those_of_the_outputs(nets):
    net, split = nets["multilabel"]
    outputs = net.predict(IMAGES)
    measured = evaluate(WorkerPool(net), split, SerialComm())
    assert measured["accuracy"] == np.mean(((outputs > 0) == split.labels).all(axis=1))
    wanted = [naive_average_precision(outputs[:, k], split.labels[:, k] == 1) for k in range(OUTPUTS)]
    assert measured["mean_average_precision"] == pytest.approx(np.mean(wanted))


def test_the_metrics_of_numbers_are_in_their_units(nets):
    net, split = nets["regress"]
    outputs = net.targets.predictions(net.forward(IMAGES))
    measured = evaluate(WorkerPool(net), split, SerialComm())
    assert measured["mean_absolute_error"] == pytest.approx(np.abs(outputs - split.labels).mean(), rel=1e-6)


def test_many_classes_have_the_top_five():
    net = Net([Flatten(), Dense(12)], (1, 3, 3), seed=1)
    labels = np.arange(SAMPLES, dtype=np.int32) % 12
    measured = evaluate(WorkerPool(net), Split(IMAGES, labels), SerialComm())
    best = np.argsort(-net.predict(IMAGES), axis=1)[:, :5]
    assert measured["top5_accuracy"] == np.mean((best == labels[:, None]).any(axis=1))


def test_metrics_are_printed_in_words():
    measured = {"loss": 0.25, "accuracy": 0.5, "macro_f1": None, "mean_absolute_error": 1234.5}
    assert summary(measured) == "loss 0.2500  accuracy 50.00%  macro f1 -  mean absolute error 1234"
