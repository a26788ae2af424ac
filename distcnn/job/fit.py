"""Train from Python, alone or on all ranks of a job: what the command line does, with the same bits."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from distcnn.job.call import call, train
from distcnn.job.callback import Callback, Record
from distcnn.job.job import Job, LayersOf
from distcnn.job.net import Net
from distcnn.job.request import maker_of, word_of
from distcnn.job.wording import Wording, as_keyword
from distcnn.job.work import Ended
from distcnn.layers import Layer


@dataclass(frozen=True)
class TrainedRun:
    """The result of `fit`, the same on every rank.

    net: the trained net.
    history: the record of each epoch, as in metrics.jsonl.
    digest: SHA-256, in hex, of the weights, as the command line prints it.
    folder: of the run; None if nothing was written.
    stopped: whether a signal, the time limit or the callback has stopped the run before its last epoch.
    """

    net: Net
    history: list[Record]
    digest: str
    folder: Path | None
    stopped: bool


def fit(
    model: str | os.PathLike | Iterable[Layer] | LayersOf = "lenet5",
    data: Any = None,
    validation: Any = None,
    test: Any = None,
    epochs: int | None = None,
    out: str | os.PathLike | None = None,
    callback: Callback | None = None,
    **settings: Any,
) -> TrainedRun:
    """Train a network, and return the run; under mpirun every rank calls this with the same arguments.

    model: a list of layers, a function (input_shape, outputs) -> layers, or a word as for the option --model.
    data: the path of an HDF5 file or several, or arrays (x, y) in any layout that files may have; None for the
        handwritten digits that come with distcnn.
    validation, test: likewise, for these splits; None for those that the files have.
    epochs: passes over the training data; None for the default.
    out: the run's folder; None: nothing is written.
    callback: called after each epoch, on every rank, with the record of the epoch; if it returns True on some rank,
        training stops.
    settings: the options of `distcnn train`, as in batch_size=64.

    Raises the exceptions of `distcnn.errors`, the same on every rank. Ctrl-C, and the signals that stop the command
    line, end training after the current step.
    """
    more = {"epochs": epochs, "out": out, **settings}
    return fit_as(as_keyword, model, data, validation=validation, test=test, callback=callback, **more)


def fit_as(
    say: Wording,
    model: Any,
    data: Any,
    *,
    validation: Any = None,
    test: Any = None,
    callback: Callback | None = None,
    **settings: Any,
) -> TrainedRun:
    """Do what `fit` does for a caller who has other words for settings; say: how messages write them."""
    sources = {"train": data, "validation": validation, "test": test}
    given = settings | {"model": word_of(model)}
    writes = settings.get("out") is not None
    job = partial(Job, layers_of=maker_of(model), callback=callback, writes=writes, say=say)
    return _result(call(train, sources, given, job, say=say))


def _result(ended: Ended) -> TrainedRun:
    """Return the result of a job that has ended."""
    trainer, run = ended.trainer, ended.run
    folder = run.folder if run.written else None
    return TrainedRun(Net.of(trainer), ended.history, trainer.digest, folder, ended.stopped)
