"""Train from Python, alone or on all ranks of a job: what the command line does, with the same bits."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distcnn.config.hints import key_hint
from distcnn.config.old_names import modernized
from distcnn.config.settings import SETTINGS, Config, Request, validated
from distcnn.data.wanted import Wanted
from distcnn.errors import ConfigError
from distcnn.job.arrays import is_pair, written
from distcnn.job.callback import Callback, Record
from distcnn.job.job import Job, LayersOf
from distcnn.job.ranks import ranks
from distcnn.job.sources import named, paths_of
from distcnn.job.work import Ended, run_job
from distcnn.layers import Layer
from distcnn.models.catalog import MODELS
from distcnn.network.net import Net
from distcnn.parallel.collective import CollectiveError, on_root
from distcnn.parallel.comm import Comm

LAYERS = "layers"  # stands for a network without a name


@dataclass(frozen=True)
class TrainedRun:
    """The result of `fit`, the same on every rank.

    net: the trained net.
    history: the record of each epoch, as in metrics.jsonl.
    digest: SHA-256, in hex, of the weights, as the command line prints it.
    classes: the names of the classes, in the order of the net's outputs.
    folder: of the run; None if no folder was written.
    stopped: whether a signal, the time limit or the callback has stopped the run before its last epoch.
    """

    net: Net
    history: list[Record]
    digest: str
    classes: tuple[str, ...]
    folder: Path | None
    stopped: bool


def fit(
    model: str | Iterable[Layer] | LayersOf = "lenet5",
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
    validation, test: likewise, for these splits.
    epochs: passes over the training data.
    out: the run's folder; None: nothing is written.
    callback: called after each epoch, on every rank, with the record of the epoch; training stops if it returns True.
    settings: the options of `distcnn train`, as in batch_size=64.

    Raises the exceptions of `distcnn.errors`, the same on every rank.
    """
    comm = ranks()
    given = {"epochs": epochs, "out": out} | settings
    layers_of = None if isinstance(model, str) else _maker(model)
    given["model"] = _word(model)
    with ExitStack() as stack:
        try:
            sources = {"train": data, "validation": validation, "test": test}
            given |= stack.enter_context(_data(comm, sources, given))
            job = Job(request_of(given), layers_of, callback=callback, writes=out is not None)
            return _result(run_job(comm, job))
        except CollectiveError as error:
            cause: Any = error.cause
            cause.collective_rank, cause.is_remote = error.collective_rank, error.is_remote
            raise cause from None


def request_of(given: Mapping[str, Any]) -> Request:
    """Return the Request that settings by name make; those that are None are not given.

    Raises ConfigError for an unknown setting and an invalid value.
    """
    known = modernized({key: _plain(value) for key, value in given.items() if value is not None}, "fit")
    for key in known:
        if key not in SETTINGS:
            raise ConfigError(f"unknown setting {key!r}{key_hint(key, SETTINGS)}")
    return Request(Config(**{key: validated(key, known[key], key) for key in known}), frozenset(known))


def _plain(value: Any) -> Any:
    """Return NumPy's numbers and paths as Python's numbers and texts, and anything else as it is."""
    if isinstance(value, np.generic):
        return value.item()
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _maker(model: Any) -> LayersOf:
    """Return the function that makes the layers of a model that is no word."""
    return model if callable(model) else lambda input_shape, outputs: model


def _word(model: Any) -> str:
    """Return the word that stands for a model in the settings: for a function its name, unless a model has it."""
    if isinstance(model, str):
        return model
    name = getattr(model, "__name__", LAYERS)
    return name if name.isidentifier() and name not in MODELS else LAYERS


@contextmanager
def _data(comm: Comm, data: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the settings that name the data of all splits; arrays are in a file inside the block. Collective."""
    pairs = {split: each for split, each in data.items() if is_pair(each)}
    others = {split: each for split, each in data.items() if each is not None and split not in pairs}
    sources = {split: paths_of(each) for split, each in others.items()}
    wanted = Wanted.of(request_of({**given, "model": None}).config)
    with ExitStack() as stack:
        if pairs:
            path = stack.enter_context(written(comm, pairs))
            sources |= dict.fromkeys(pairs, (path,))
        if {*pairs} == {*sources} and "train" in pairs:
            sources = {"train": (path,)}
        yield on_root(comm, named, sources, wanted)


def _result(ended: Ended) -> TrainedRun:
    """Return the result of a job that has ended."""
    trainer, run = ended.trainer, ended.run
    config, shape = run.config, trainer.net.input_shape
    net = Net(trainer.network.layers, shape, config.seed, config.conv, config.norm_group)
    net.weights[:] = trainer.replica.ema.result
    net.normalize(trainer.replica.mean, trainer.replica.std)
    folder = run.folder if run.written else None
    return TrainedRun(net, ended.history, trainer.digest, trainer.dataset.classes, folder, ended.stopped)
