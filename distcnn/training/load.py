"""Functions that load a trained net from a checkpoint or a run's folder, and the data to evaluate it on."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from distcnn.config.parser import Parser
from distcnn.config.settings import Config
from distcnn.config.tasks import task_of
from distcnn.config.toml import from_toml
from distcnn.config.types import AUTO
from distcnn.data.data_options import add_array_options
from distcnn.data.dataset import Dataset, Split
from distcnn.data.wanted import Wanted
from distcnn.errors import CheckpointError, ConfigError, DataError
from distcnn.kernels import float_mode
from distcnn.kernels.pointwise import pack
from distcnn.models.networks import check_outputs, read_layers
from distcnn.models.user_code import source_hashes
from distcnn.network.losses import LOSSES
from distcnn.network.net import Net
from distcnn.parallel.collective import on_all, on_root
from distcnn.parallel.comm import Comm
from distcnn.parallel.compile_once import compile_in_turns
from distcnn.parallel.node import share_of_cores
from distcnn.run import checkpoint
from distcnn.run.state import State, require_parameters
from distcnn.run.trained_data import with_data
from distcnn.system.counts import counted
from distcnn.system.terminal_text import warn
from distcnn.training.other_data import load_other
from distcnn.training.saved_network import changed_code, network_in
from distcnn.training.scale_check import warn_of_scale
from distcnn.training.setup import load_data
from distcnn.training.workers import WorkerPool

SPLITS = ("test", "train", "validation")
NO_VALIDATION = "validation split: the checkpoint was not trained with one (--validation-split) on this data"
BEST_HELP = "of a run's folder, take the checkpoint with the best validation result, not the newest"
MOST_THREADS = 1024


def parser(command: str, description: str) -> Parser:
    """Return a parser of the arguments that `evaluate` and `predict` have in common."""
    made = Parser(f"python -m distcnn.{command}", description=description)
    text = "a checkpoint, or a run's folder for its newest one"
    made.add_argument("checkpoint", metavar="CHECKPOINT", help=text)
    made.add_argument("--best", action="store_true", help=BEST_HELP)
    text = "the files of the dataset, or a quoted pattern [those of the training]"
    made.add_argument("--data", metavar="FILE", nargs="+", help=text)
    made.add_argument("--layers", metavar="FILE.py|MODULE", help="your code that defines layers of the net")
    text = "threads of each rank [its share of the cores]"
    made.add_argument("--threads", metavar="T", type=_threads, default=0, help=text)
    made.add_argument("--json", action="store_true", help="print one JSON object")
    add_array_options(made)
    made.set_defaults(task=AUTO)  # that of the run
    made.epilog = "--images and --labels also name those of a file that says no split."
    return made


def _threads(word: str) -> int:
    """Return a number of threads; raise ArgumentTypeError if the word is not a valid one."""
    if not (word.isascii() and word.isdigit() and int(word) <= MOST_THREADS):
        wanted = f"a whole number from 0 to {MOST_THREADS}"
        raise argparse.ArgumentTypeError(f"{word!r} is not valid; wanted {wanted}")
    return int(word)


def find(path: str | Path, best: bool = False) -> tuple[Path, State]:
    """Return (path, State) of a checkpoint, or of the newest good checkpoint in a run's folder.

    best: take the checkpoint with the best validation result in the folder.
    """
    path = Path(path)
    if not path.is_dir():
        if best:
            raise ConfigError(f"--best: {path} is not the folder of a run; leave the option out")
        return path, checkpoint.load(path)
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    if best:
        return _best(path, folder / checkpoint.BEST)
    found = checkpoint.newest(folder, warn)
    if found is None:
        raise CheckpointError(
            f"{path}: no good checkpoint in this folder; wanted the folder of a run, as runs/lenet5-digits"
        )
    return found


def _best(run: Path, link: Path) -> tuple[Path, State]:
    """Return (path, State) of the best checkpoint of a run, to which a link leads."""
    if not link.exists():
        remedy = "train with validation images (--validation-split), or leave --best out"
        raise CheckpointError(f"{run}: has no best checkpoint: {remedy}")
    return link.parent / os.path.basename(os.path.realpath(link)), checkpoint.load(link)


def settings_of(
    state: State, where: str | Path, data: Sequence[str] | None = None, named: Wanted | None = None
) -> Config:
    """Return the settings of a state, with the data to evaluate on.

    where: the name of the state in error messages.
    data: the files of the dataset; None for the data on which the state was trained.
    named: how the user names the arrays, which may say their files; None: not at all.

    Raises DataError if the data on which the state was trained are to be used, and have moved.
    """
    config = from_toml(state.config_toml, where)
    if named and named.names_files and not data:
        return replace(config, data=None)
    return with_data(config, data, where)


def load_net(state: State, where: str | Path, sources: Sequence[str] = ()) -> Net:
    """Return the Net that a state holds.

    where: the name of the state in error messages.
    sources: the user's files and modules that define layers of the net.
    """
    config = from_toml(state.config_toml, where)
    task = task_of(config.task).name
    layers = read_layers(network_in(state, where), str(where), sources)
    check_outputs(layers, str(where), state.input_shape, len(state.classes), task)
    net = Net(layers, state.input_shape, config.seed, config.conv, task=task)
    require_parameters(state, [(name, view.shape) for name, view in net.arrays.items()], where)
    net.weights[:] = state.result
    net.normalize(state.mean, state.std)
    net.targets.set(state.target_mean, state.target_std)
    return net


def load_pool(
    comm: Comm,
    state: State,
    where: str | Path,
    images: np.ndarray,
    threads: int = 0,
    sources: Sequence[str] = (),
) -> WorkerPool:
    """Return workers for the net that a state holds, with all kernels that evaluation needs compiled. Collective.

    where: the name of the state in error messages.
    images: the images to evaluate; only their dtype matters.
    threads: how many workers; 0: as many as this rank has cores.
    sources: the user's files and modules that define layers of the net.
    """
    net = on_all(comm, load_net, state, where, sources)
    changed = changed_code(state, on_all(comm, source_hashes, net.layers))
    if changed and comm.rank == 0:
        warn(changed)
    return evaluation_pool(comm, net, images, threads)


def evaluation_pool(comm: Comm, net: Net, images: Any, threads: int = 0) -> WorkerPool:
    """Return workers for a net, with all kernels that evaluation needs compiled. Collective.

    images: the images to evaluate; only their dtype matters.
    threads: how many workers; 0: as many as this rank has cores.
    """
    pool = WorkerPool(net, threads or share_of_cores(comm))
    probabilities = LOSSES[net.task.name].probabilities
    needed = [pack(images.dtype.name), *float_mode.kernels(), *([probabilities] if probabilities else [])]

    def compile_all() -> object:
        return [worker.inference for worker in pool.workers], [kernel.compiled for kernel in needed]

    compile_in_turns(comm, compile_all)
    return pool


def load_split(
    comm: Comm,
    state: State,
    where: str | Path,
    name: str,
    data: Sequence[str] | None = None,
    named: Wanted | None = None,
) -> tuple[Dataset, Split]:
    """Return (dataset, split): a split, by name, of a dataset. Collective.

    where: the name of the state in error messages.
    name: "train", "validation" or "test"; the training data are split as they were in training.
    data: the files of the dataset; None for the data on which the state was trained.
    named: how the user names the arrays; None: not at all.

    Raises DataError if the dataset has no such split, or if its images do not fit the state.
    """
    named = named or Wanted()
    config = on_root(comm, settings_of, state, where, data, named)
    are_named = bool(data) or named != Wanted()
    dataset = load_other(comm, config, state, name, named) if are_named else load_data(config, comm)
    split = getattr(dataset, name)

    def check() -> None:
        if split is None:
            missing = _without(dataset, name)
            raise DataError(f"{dataset.name} has no {missing}; choose another split (--split)")
        check_images(dataset.name, split.images, dataset.scale, dataset.classes, state, where)
        check_task(dataset.name, dataset.task, config, where)

    on_all(comm, check)
    warn_of_scale(comm, dataset.name, split.images, state, where)
    return dataset, split


def _without(dataset: Dataset, name: str) -> str:
    """Return what a dataset lacks so that a split cannot be used."""
    found = dataset.description.splits if dataset.description else {}
    if name in found and not found[name].labels:
        return f"labels for its {name} images, which can only be predicted"
    return NO_VALIDATION if name == "validation" else f"/{name}"


class Trained(Protocol):
    """What a State, or a net, says of the images on which it was trained.

    input_shape: (c, h, w).
    classes: the names of the classes.
    dtype: the name of the type that says what pixels mean; "" if that is not known.
    """

    @property
    def input_shape(self) -> tuple[int, ...]: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def dtype(self) -> str: ...


def check_images(
    name: str,
    images: np.ndarray,
    scale: str,
    classes: Sequence[str] | None,
    state: Trained,
    where: str | Path,
) -> None:
    """Raise DataError unless the images' shape, dtype and classes are those on which the state was trained.

    name: the name of the images' file in error messages.
    scale: the type that says what the pixels mean, `Dataset.scale`.
    classes: the names of the images' classes; None or empty if they are not known.
    where: the name of the state in error messages.
    """
    shape = tuple(images.shape[1:])
    if shape != tuple(state.input_shape) or (classes and classes != state.classes[: len(classes)]):
        unnamed = "; where labels are the numbers of these classes, name them in the file's attribute classes"
        raise DataError(
            f"{name} has images {shape} of {_listed(classes or ())}, but {where} was trained on "
            f"{tuple(state.input_shape)} and {_listed(state.classes)}: name matching data (--data)"
            f"{unnamed * are_numbers(classes)}"
        )
    if state.dtype and scale != state.dtype:
        raise DataError(
            f"{name} has images of {scale}, but {where} was trained on {state.dtype}, which has another range "
            f"of values: convert the images"
        )


def check_task(name: str, task: str, config: Config, where: str | Path) -> None:
    """Raise DataError unless labels are for the task for which a net was trained.

    name: of the file, for messages.
    task: what its labels are for.
    config: the settings of the net.
    where: the name of its state in error messages.
    """
    trained = task_of(config.task).name
    if task != trained:
        raise DataError(
            f"{name} has labels for {task}, but {where} was trained for {trained}: name other data (--data)"
        )


def are_numbers(classes: Sequence[str] | None) -> bool:
    """Return whether classes have only their numbers for names, as those of a file that names none."""
    return bool(classes) and list(classes or ()) == list(map(str, range(len(classes or ()))))


def _listed(classes: Sequence[str]) -> str:
    """Return a phrase with the number of classes and the names of the first three."""
    return f"{counted(len(classes), 'class')} ({', '.join(classes[:3])}{', ...' if classes[3:] else ''})"
