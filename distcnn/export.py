"""Export a trained net: `python -m distcnn.export RUN OUT.onnx`, or OUT.safetensors for PyTorch."""

from __future__ import annotations

import sys

from distcnn.config.startup import begin

if __name__ == "__main__":
    begin(sys.argv[1:])  # before the imports below, which need NumPy, Numba and MPI

import argparse
from collections.abc import Sequence
from pathlib import Path

from distcnn.config.parser import Parser
from distcnn.config.tasks import Task
from distcnn.errors import ConfigError, DistcnnError
from distcnn.exchange import onnx_file
from distcnn.exchange.safetensors_file import safetensors_bytes
from distcnn.models.networks import code_sources
from distcnn.models.notation import write
from distcnn.network.net import Net
from distcnn.parallel.comm import Comm
from distcnn.parallel.world import on_root
from distcnn.parallel.world import run as run_command
from distcnn.run.state import State
from distcnn.system.atomic_files import require_free, write_whole
from distcnn.system.terminal_text import say
from distcnn.training.load import BEST_HELP, find, load_net

ENDINGS = (".onnx", ".safetensors")
ONNX_OPTIONS = ("softmax", "sigmoid", "normalize")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = Parser(
        "python -m distcnn.export", description="Write a trained net to a file of ONNX or PyTorch."
    )
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="a checkpoint, or a run's folder for its newest one"
    )
    parser.add_argument("out", metavar="OUT.onnx|OUT.safetensors")
    parser.add_argument("--layers", metavar="FILE.py|MODULE", help="your code that defines layers of the net")
    parser.add_argument("--best", action="store_true", help=BEST_HELP)
    parser.add_argument("--force", action="store_true", help="replace OUT if it exists")
    parser.add_argument(
        "--softmax", action="store_true", help="ONNX: the output is probabilities instead of logits"
    )
    text = "ONNX: the same for a net that was trained for several labels an image"
    parser.add_argument("--sigmoid", action="store_true", help=text)
    text = "ONNX: normalize images by operators, by the weights of the first layer, or not at all [graph]"
    choices = (onnx_file.GRAPH, onnx_file.FOLD, onnx_file.NONE)
    parser.add_argument("--normalize", choices=choices, default=onnx_file.GRAPH, help=text)
    options = parser.parse_args(argv)
    if not options.out.lower().endswith(ENDINGS):
        raise ConfigError(
            f"{options.out} names no known kind of file; wanted a name that ends in {' or '.join(ENDINGS)}"
        )
    unused = [each for each in ONNX_OPTIONS if each in parser.given or getattr(options, each) is True]
    if unused and not options.out.lower().endswith(".onnx"):
        raise ConfigError(f"--{unused[0]} does nothing for {options.out}; it is for OUT.onnx: leave it out")
    return options


def export(options: argparse.Namespace) -> None:
    """Write the file; it appears complete or not at all."""
    require_free(options.out, options.force)
    path, state = find(options.checkpoint, options.best)
    net = load_net(state, path, code_sources(None, options.layers))
    if options.out.lower().endswith(".onnx"):
        content, checked = _onnx(net, state, options)
    else:
        content, checked = safetensors_bytes(net, state.classes, write(net.layers), state.dtype), ""
    write_whole(Path(options.out), content)
    say(f"wrote {options.out}: {path}, step {state.step}, {net.trained:,} parameters{checked}")


def _onnx(net: Net, state: State, options: argparse.Namespace) -> tuple[bytes, str]:
    """Return the bytes of an ONNX file, and a phrase on the check of its outputs."""
    probabilities = _wants_probabilities(net.task, options)
    content = onnx_file.onnx_bytes(net, state.classes, probabilities, options.normalize)
    found = onnx_file.difference(content, net, probabilities, options.normalize)
    if found is None:
        return content, "; not checked, as ONNX Runtime is not installed: pip install onnxruntime"
    if not found <= onnx_file.TOLERANCE:
        raise DistcnnError(
            f"ONNX Runtime's outputs differ by {found:.1g} of the largest one; nothing was written"
        )
    return content, f"; ONNX Runtime's outputs differ by {found:.0e} of the largest one"


def _wants_probabilities(task: Task, options: argparse.Namespace) -> bool:
    """Return whether the output is to be probabilities; raise ConfigError for those that the task does not have."""
    asked = [each for each in ("softmax", "sigmoid") if getattr(options, each)]
    wrong = next((each for each in asked if each != task.probabilities), None)
    if wrong:
        remedy = f"say --{task.probabilities}" if task.probabilities else "leave it out"
        raise ConfigError(f"--{wrong} does not fit a net that was trained for {task.name}: {remedy}")
    return bool(asked)


def main(comm: Comm) -> None:
    """Export on rank 0."""
    on_root(comm, lambda: export(parse(sys.argv[1:])))


if __name__ == "__main__":
    run_command(main)
