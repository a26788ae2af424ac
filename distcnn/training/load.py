"""A trained net, from a checkpoint or a run's folder, and the data to use it on."""

import argparse
import sys
from pathlib import Path

from distcnn.config.parser import Parser
from distcnn.config.toml import from_toml
from distcnn.data.dataset import load
from distcnn.errors import CheckpointError, DataError
from distcnn.kernels.activations import softmax_forward
from distcnn.kernels.float_mode import set_float_mode
from distcnn.kernels.pointwise import pack
from distcnn.models import build
from distcnn.parallel.collective import on_all, on_root
from distcnn.parallel.compile_once import compile_in_turns
from distcnn.parallel.cores import share_of_cores
from distcnn.run import checkpoint
from distcnn.run.state import require_parameters
from distcnn.training.workers import WorkerPool

PARTS = ("test", "train", "validation")
WHAT = {"validation": "validation part: the checkpoint was not trained with --validation-split on this data"}
MOST_THREADS = 1024


def parser(command, description):
    """Return a parser of the arguments that the commands for trained nets have in common."""
    made = Parser(f"python -m distcnn.{command}", description=description)
    made.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="a checkpoint, or a run's folder: its newest one"
    )
    made.add_argument("--data", metavar="FILE.h5", help="the dataset; without it, the one trained on")
    made.add_argument(
        "--threads", metavar="T", type=_threads, default=0, help="blocks that a rank computes side by side"
    )
    made.add_argument("--json", action="store_true", help="print one JSON object")
    return made


def _threads(word):
    if not (word.isascii() and word.isdigit() and int(word) <= MOST_THREADS):
        raise argparse.ArgumentTypeError(f"{word!r} is not possible; wanted a whole number to {MOST_THREADS}")
    return int(word)


def find(path):
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


def net_of(state, where):
    """Return the Net that a state holds."""
    config = from_toml(state.config_toml, where)
    net = build(config.model, state.input_shape, len(state.classes), config.seed, config.conv)
    require_parameters(state, [(name, view.shape) for name, view in net.arrays.items()], where)
    net.weights[:] = state.result
    net.normalize(state.mean, state.std)
    return net


def crew_of(comm, state, where, images, threads=0):
    """Return the Crew of a net for the evaluation of such images, its kernels compiled. Collective."""
    net = on_all(comm, net_of, state, where)
    pool = WorkerPool(net, threads or share_of_cores(comm))
    needed = pack(images.dtype.name), set_float_mode, softmax_forward

    def compile_all():
        return [worker.inference for worker in pool.workers], [kernel.compiled for kernel in needed]

    compile_in_turns(comm, compile_all)
    return pool


def part_of(comm, state, where, name, data=None):
    """Return (dataset, part): the part of this name of the file `data`, or of what the state was trained on.

    Collective. What was trained on is cut as it was then. Raises DataError unless the part is there and fits the state.
    """
    config = on_root(comm, from_toml, state.config_toml, where)
    path = data or config.data
    dataset = load(path, comm, config.validation_split, config.seed)
    if config.validation_split and dataset.fingerprint != state.data_fingerprint:
        dataset = load(path, comm)  # nothing of this was held out
    part = getattr(dataset, name)

    def check():
        if part is None:
            raise DataError(f"{dataset.name} has no {WHAT.get(name, f'/{name}')}; name another --split")
        require_fitting(dataset.name, part.images, dataset.classes, state, where)

    on_all(comm, check)
    return dataset, part


def require_fitting(name, images, classes, state, where):
    """Raise DataError unless images are such as the state was trained on, and classes, if they are known."""
    shape, dtype = tuple(images.shape[1:]), images.dtype.name
    if shape != tuple(state.input_shape) or (classes and classes != state.classes[: len(classes)]):
        raise DataError(
            f"{name} has images {shape} of {_some(classes or ())}, but {where} was trained on "
            f"{tuple(state.input_shape)} and {_some(state.classes)}: name its kind of data by --data"
        )
    if state.dtype and dtype != state.dtype:
        raise DataError(
            f"{name} has images of {dtype}, but {where} was trained on {state.dtype}, whose values are others: "
            f"convert the images"
        )


def _some(classes):
    """Return words on classes."""
    return f"{len(classes)} classes ({', '.join(classes[:3])}{', ...' if classes[3:] else ''})"
