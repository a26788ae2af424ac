"""The reports that `evaluate --report` and the end of a training write."""

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from distcnn.data.splits import Split
from distcnn.errors import DataError
from distcnn.reports.report import LARGEST, Report
from distcnn.run import curves
from distcnn.training.trainer import Trainer
from tests.helpers import datasets, jobs
from tests.helpers.streams import small_units, write

TRAIN = "--epochs", 1, "--progress", "none", "--model", "mlp"
SHORT = "--max-steps", 1, "--progress", "none", "--model", "mlp"
FILES = ["calibration.png", "confusion.png", "mistakes.png", "report.json"]


def read(folder):
    return json.loads((Path(folder) / "report.json").read_text())


@pytest.mark.mpi(ranks=(1, 3))
def test_the_end_of_a_training_reports_what_evaluate_does(call, comm):
    done = call("distcnn.train", *TRAIN, "--out", "a")
    assert (done.returncode, done.stderr) == (0, "")
    record = json.loads(Path("a/metrics.jsonl").read_text().splitlines()[-1])
    found = read("a/report")
    assert (found["epoch"], found["step"], found["split"]) == (1, record["step"], "test")
    assert found["weights_sha256"] == record["weights_sha256"]
    assert (found["loss"], found["accuracy"]) == (record["test_loss"], record["test_accuracy"])
    assert sum(map(sum, found["confusion"])) == found["samples"] == 355
    assert json.loads(call("distcnn.evaluate", "a", "--json").stdout) == found
    written = call("distcnn.evaluate", "a", "--report", "b/c")
    assert written.returncode == 0, written.stderr
    assert "wrote report.json, confusion.png, calibration.png, mistakes.png to b/c\n" in written.stdout
    comm.Barrier()
    assert Path("b/c/report.json").read_bytes() == Path("a/report/report.json").read_bytes()
    assert sorted(os.listdir("b/c")) == FILES


def test_a_training_draws_its_report(run, tmp_path):
    done = run("python", "-m", "distcnn.train", *SHORT, "--out", "a", cwd=tmp_path, env=jobs.PICTURES)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(os.listdir(tmp_path / "a/report")) == FILES
    for name in FILES[:3]:
        assert (tmp_path / "a/report" / name).read_bytes().startswith(b"\x89PNG")


def test_where_a_report_may_be_written(here, monkeypatch):
    """Not over another one, and not where there is no folder; both are refused before the evaluation."""
    monkeypatch.setattr("distcnn.evaluate.draw", lambda *arguments: None)
    here("distcnn.train", *SHORT, "--out", "a")
    before, evaluate = Path("a/report/report.json").stat().st_mtime_ns, ("distcnn.evaluate", "a", "--report")
    done = here(*evaluate, "a/report", "--split", "train")
    assert (done.returncode, done.stderr) == (
        2,
        "distcnn: error: a/report/report.json already exists: choose another name, or replace it with --force\n",
    )
    assert Path("a/report/report.json").stat().st_mtime_ns == before
    done = here(*evaluate, "a/report", "--split", "train", "--force")
    assert done.returncode == 0, done.stderr
    assert read("a/report")["split"] == "train"
    Path("file").touch()
    done = here(*evaluate, "file/b")
    assert (done.returncode, done.stderr) == (
        2,
        "distcnn: error: file/b: no report can be written there: "
        f"{Path('file').absolute()} is not a folder; choose another folder\n",
    )


def test_a_report_that_cannot_be_written_does_not_end_a_training(here, monkeypatch):
    draw = curves.Curves.draw
    monkeypatch.setattr(curves.Curves, "draw", lambda self: (Path("a/report").touch(), draw(self)))
    made = Trainer.report
    monkeypatch.setattr(Trainer, "report", lambda self, path: (Path("a/report").touch(), made(self, path))[1])
    done = here("distcnn.train", *SHORT, "--out", "a")
    assert done.returncode == 0
    assert "weights_sha256" in done.stdout
    assert "a/report" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_file_that_cannot_be_read_any_more_does_not_end_a_training(here, monkeypatch):
    def fail(self, path):
        raise DataError("x.h5: was changed")

    monkeypatch.setattr(Trainer, "report", fail)
    done = here("distcnn.train", *SHORT, "--out", "a")
    assert done.returncode == 0
    assert done.stderr == "distcnn: warning: no report: x.h5: was changed\n"
    assert not Path("a/report").exists()


def test_a_run_without_test_images_has_no_report(here):
    datasets.write("data.h5", {"test/images": None, "test/labels": None})
    done = here("distcnn.train", *SHORT, "--data", "data.h5", "--out", "a")
    assert done.returncode == 0, done.stderr
    assert not Path("a/report").exists()


def test_a_drawing_of_a_report_that_fails_is_a_warning(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = []
    made = curves.Curves("metrics.jsonl", "curves.png", "", said.append)
    made.report = tmp_path / "missing", np.zeros((1, 1, 2, 2), np.uint8)
    made.draw()
    made.finish()
    (line,) = said
    assert line.startswith("no report drawn: FileNotFoundError")
    assert os.listdir() == ["curves.png"]


def test_the_mistakes_of_a_file_that_is_streamed(here, monkeypatch):
    """They are read again, and are those of memory mode."""
    small_units(monkeypatch)
    path = write("a.h5", "gzip", train=64, test=50)
    here("distcnn.train", *SHORT, "--data", path, "--out", "a", "--data-mode", "stream")
    shown = []
    monkeypatch.setattr("distcnn.evaluate.draw", lambda folder, record, images: shown.append(images))
    for name, data in (("stream", ()), ("memory", ("--data", path))):
        done = here("distcnn.evaluate", "a", "--report", name, *data)
        assert done.returncode == 0, done.stderr
    record = read("stream")
    assert record == read("memory") == read("a/report")
    samples = [row["sample"] for row in record["mistakes"]]
    assert len(samples) == 24
    with h5py.File(path) as file:
        for images in shown:
            assert images.tobytes() == file["test/images"][...][samples].tobytes()


def test_large_images_are_shown_smaller():
    images = np.arange(2 * 600 * 500, dtype=np.float32).reshape(2, 1, 600, 500)
    report = Report({"mistakes": [{"sample": 1}]}, {}, Split(images, np.zeros(2, np.int32)))
    assert report.images.tolist() == images[1:, :, ::3, ::3].tolist()
    assert max(report.images.shape[2:]) <= LARGEST
