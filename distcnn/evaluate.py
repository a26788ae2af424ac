"""Evaluate a checkpoint on a dataset: `python -m distcnn.evaluate CHECKPOINT --data FILE.h5 [--json]`."""

import json
import sys
from pathlib import Path

from distcnn import checkpoint
from distcnn.arguments import Parser
from distcnn.config import from_toml
from distcnn.crew import Crew
from distcnn.data.dataset import load
from distcnn.errors import CheckpointError, DataError
from distcnn.evaluation import evaluate, means
from distcnn.kernels.compile import set_float_mode
from distcnn.kernels.pointwise import pack
from distcnn.models import build
from distcnn.parallel.agreement import on_all, on_root
from distcnn.parallel.turns import first_then_others
from distcnn.parallel.world import run as run_command


def parse(words):
    """Return the options of the command line."""
    parser = Parser(
        "python -m distcnn.evaluate", description="Loss and accuracy of a checkpoint on a dataset."
    )
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="a checkpoint, or a run's folder: its newest one"
    )
    parser.add_argument("--data", metavar="FILE.h5", help="the dataset; without it, the one trained on")
    parser.add_argument(
        "--part", choices=("test", "train"), default="test", help="the part to evaluate on [test]"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args(words)


def find(path):
    """Return (path, State) of a checkpoint, or of the newest good one of a run's folder."""
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
    checkpoint.require_parameters(state, [(name, view.shape) for name, view in net.arrays.items()], where)
    net.weights[:] = state.parameters
    net.normalise(state.mean, state.std)
    return net


def chosen_part(dataset, name, state, where):
    """Return a part of the dataset. Raises DataError unless it is there and of the net's shape and classes."""
    part = getattr(dataset, name)
    if part is None:
        raise DataError(f"{dataset.name} has no /{name}; evaluate on another part: --part train")
    if (
        part.images.shape[1:] != tuple(state.input_shape)
        or dataset.classes != state.classes[: len(dataset.classes)]
    ):
        raise DataError(
            f"{dataset.name} has images {part.images.shape[1:]} of {_some(dataset.classes)}, but {where} was trained "
            f"on {tuple(state.input_shape)} and {_some(state.classes)}: name its kind of data by --data"
        )
    return part


def _some(classes):
    """Return words on classes."""
    return f"{len(classes)} classes ({', '.join(classes[:3])}{', ...' if classes[3:] else ''})"


def compiled(net, part):
    """Make ready what a net needs for a part."""
    return net.inference, pack(part.images.dtype.name).compiled, set_float_mode.compiled


def main(comm):
    """Evaluate on all ranks together; rank 0 prints."""
    options = on_root(comm, lambda: parse(sys.argv[1:]))
    path, state = on_root(comm, lambda: find(Path(options.checkpoint)))
    dataset = load(options.data or from_toml(state.config_toml, path).data, comm)
    part = on_all(comm, lambda: chosen_part(dataset, options.part, state, path))
    net = on_all(comm, lambda: net_of(state, path))
    first_then_others(comm, lambda: compiled(net, part))
    loss, accuracy = means(evaluate(Crew(net), part, comm))
    record = {"checkpoint": str(path), "epoch": state.epoch, "step": state.step, "data": dataset.name}
    record |= {"part": options.part, "samples": len(part.labels), "loss": loss, "accuracy": accuracy}
    record["weights_sha256"] = net.digest
    if comm.rank == 0 and options.json:
        print(json.dumps(record))
    elif comm.rank == 0:
        print(f"{path}, step {state.step}, on {len(part.labels):,} {options.part} images of {dataset.name}")
        print(f"loss {loss:.4f}  accuracy {accuracy:.2%}\nweights_sha256 {net.digest}")


if __name__ == "__main__":
    run_command(main)
