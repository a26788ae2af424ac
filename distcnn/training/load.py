"""A trained net, from a checkpoint or a run's folder, and the data to use it on."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from distcnn.config.parser import Parser
from distcnn.config.toml import from_toml
from distcnn.data.dataset import Dataset, Split, load
from distcnn.errors import CheckpointError, DataError
from distcnn.kernels.activations import softmax_forward
from distcnn.kernels.float_mode import set_float_mode
from distcnn.kernels.pointwise import pack
from distcnn.models import build
from distcnn.network.net import Net
from distcnn.parallel.collective import on_all, on_root
from distcnn.parallel.comm import Comm
from distcnn.parallel.compile_once import compile_in_turns
from distcnn.parallel.node import share_of_cores
from distcnn.run import checkpoint
from distcnn.run.state import State, require_parameters
from distcnn.training.workers import WorkerPool

SPLITS = ("test", "train", "validation")
NO_VALIDATION = "validation split: the checkpoint was not trained with --validation-split on this data"
MOST_THREADS = 1024


def parser(command: str, description: str) -> Parser:
    """Return a parser of the arguments that the commands for trained nets have in common."""
    made = Parser(f"python -m distcnn.{command}", description=description)
    made.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="a checkpoint, or a run's folder: its newest one"
    )
    made.add_argument("--data", metavar="FILE.h5", help="the dataset; without it, the one trained on")
    made.add_argument(
        "--threads", metavar="T", type=_threads, default=0, help="blocks that a rank computes in parallel"
    )
    made.add_argument("--json", action="store_true", help="print one JSON object")
    return made


def _threads(word):
    if not (word.isascii() and word.isdigit() and int(word) <= MOST_THREADS):
        raise argparse.ArgumentTypeError(
            f"{word!r} is not possible; wanted a whole number from 0 to {MOST_THREADS}"
        )
    return int(word)


def find(path: str | Path) -> tuple[Path, State]:
    """Return (path, State) of a checkpoint, or of the newest good one of a run's folder."""
    path = Path(path)
    if not path.is_dir():
        return path, checkpoint.load(path)
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    found = checkpoint.newest(folder, lambda text: print(f"distcnn: warning: {text}", file=sys.stderr))
    if found is None:
        raise CheckpointError(
            f"{path}: no good checkpoint in this folder; wanted one that distcnn.train has saved"
        )
    return found


def load_net(state: State, where: str | Path) -> Net:
    """Return the Net that a state holds; where: how messages name the state."""
    config = from_toml(state.config_toml, where)
    net = build(config.model, state.input_shape, len(state.classes), config.seed, config.conv)
    require_parameters(state, [(name, view.shape) for name, view in net.arrays.items()], where)
    net.weights[:] = state.result
    net.normalize(state.mean, state.std)
    return net


def load_pool(
    comm: Comm, state: State, where: str | Path, images: np.ndarray, threads: int = 0
) -> WorkerPool:
    """Return the workers of the net that a state holds, with all kernels to evaluate such images. Collective.

    where: how messages name the state.
    threads: 0 for as many as this rank has cores.
    """
    net = on_all(comm, load_net, state, where)
    pool = WorkerPool(net, threads or share_of_cores(comm))
    needed = pack(images.dtype.name), set_float_mode, softmax_forward

    def compile_all():
        return [worker.inference for worker in pool.workers], [kernel.compiled for kernel in needed]

    compile_in_turns(comm, compile_all)
    return pool


def load_split(
    comm: Comm, state: State, where: str | Path, name: str, data: str | None = None
) -> tuple[Dataset, Split]:
    """Return (dataset, split): the split of this name of the file `data`, or of the data that the state was trained on.

    Collective. Those data are split as they were in training. Raises DataError unless the split is there and fits.
    """
    config = on_root(comm, from_toml, state.config_toml, where)
    path = data or config.data
    dataset = load(path, comm, config.validation_split, config.seed)
    if config.validation_split and dataset.fingerprint != state.data_fingerprint:
        dataset = load(path, comm)  # these are other data, of which training has used nothing
    split = getattr(dataset, name)

    def check():
        if split is None:
            what = NO_VALIDATION if name == "validation" else f"/{name}"
            raise DataError(f"{dataset.name} has no {what}; name another --split")
        check_images(dataset.name, split.images, dataset.classes, state, where)

    on_all(comm, check)
    return dataset, split


def check_images(
    name: str, images: np.ndarray, classes: Sequence[str] | None, state: State, where: str | Path
) -> None:
    """Raise DataError unless images, and their classes if they are known, are such as the state was trained on.

    name, where: how messages name the images' file and the state.
    """
    shape, dtype = tuple(images.shape[1:]), images.dtype.name
    if shape != tuple(state.input_shape) or (classes and classes != state.classes[: len(classes)]):
        raise DataError(
            f"{name} has images {shape} of {_listed(classes or ())}, but {where} was trained on "
            f"{tuple(state.input_shape)} and {_listed(state.classes)}: pass matching data with --data"
        )
    if state.dtype and dtype != state.dtype:
        raise DataError(
            f"{name} has images of {dtype}, but {where} was trained on {state.dtype}, whose values are others: "
            f"convert the images"
        )


def _listed(classes):
    """Return words on classes: how many there are, and the first of them."""
    return f"{len(classes)} classes ({', '.join(classes[:3])}{', ...' if classes[3:] else ''})"
