"""A metric that is declared once is measured, on any number of workers and ranks, recorded and printed."""

import json

import numpy as np
import pytest

from distcnn import Net
from distcnn.data.dataset import Split
from distcnn.layers import Dense, Flatten
from distcnn.numerics.fixed_point import Totals
from distcnn.parallel.serial import SerialComm
from distcnn.training.evaluation import evaluate
from distcnn.training.metrics import METRICS
from distcnn.training.workers import WorkerPool
from tests.helpers.arrays import normal

SAMPLES, CLASSES = 75, 6
SPLIT = Split(normal(SAMPLES, 1, 3, 3), np.arange(SAMPLES, dtype=np.int32) % CLASSES)
PROGRAM = """
import sys
import numpy as np
from distcnn import evaluate, train
from distcnn.parallel.world import run
from distcnn.training.metrics import METRICS
METRICS["class_sum"] = lambda logits, labels: labels.sum()
run({"train": train, "evaluate": evaluate}[sys.argv.pop(1)].main)
"""


def top2(logits, labels):
    """Return for how many samples one of the two largest logits is the right one."""
    return (np.argsort(logits, axis=1)[:, -2:] == labels[:, None]).any(axis=1).sum()


@pytest.fixture
def net(monkeypatch):
    monkeypatch.setitem(METRICS, "top2_accuracy", top2)
    return Net([Flatten(), Dense(CLASSES)], (1, 3, 3), seed=1)


@pytest.mark.mpi(ranks=(1, 3))
@pytest.mark.parametrize("threads", [1, 2])
def test_a_metric_is_the_same_on_any_number_of_ranks(comm, net, threads):
    found = evaluate(WorkerPool(net, threads), SPLIT, comm)
    assert found["top2_accuracy"] == top2(net.predict(SPLIT.images), SPLIT.labels) / SAMPLES
    assert list(found) == ["loss", "accuracy", "top2_accuracy"]
    assert found["accuracy"] <= found["top2_accuracy"]


def test_without_further_metrics_there_are_loss_and_accuracy():
    net = Net([Flatten(), Dense(CLASSES)], (1, 3, 3), seed=1)
    assert list(evaluate(WorkerPool(net), SPLIT, SerialComm())) == ["loss", "accuracy"]


def test_a_metric_is_recorded_and_printed(run, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    options = "--epochs", 1, "--validation-split", 0.1, "--out", "a", "--progress", "none"
    done = run("python", "program.py", "train", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "a/metrics.jsonl").read_text())
    assert record["test_class_sum"] > 0
    assert record["validation_class_sum"] > 0
    done = run("python", "program.py", "evaluate", "a", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["class_sum"] == record["test_class_sum"]
    done = run("python", "program.py", "evaluate", "a", cwd=tmp_path)
    assert f"  class sum {record['test_class_sum']:.4g}\n" in done.stdout


def test_totals_of_no_samples_have_means():
    assert (Totals().mean_loss, Totals().accuracy) == (0.0, 0.0)
    assert Totals(1, 2, 3).plus(Totals(4, 5, 6)) == Totals(5, 7, 9)
