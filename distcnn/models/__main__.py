"""The command `python -m distcnn.models`: look at a network before it is trained.

python -m distcnn.models list                    all models by name
python -m distcnn.models write MODEL [OUT.txt]   the layers in the notation of networks
python -m distcnn.models show MODEL OUT.png      a picture of the layers and their shapes
"""

from __future__ import annotations

import sys

from distcnn.config.startup import begin

if __name__ == "__main__":
    begin(sys.argv[1:])  # before the imports below, which need NumPy, Numba and MPI

import argparse
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from distcnn.config import model_word
from distcnn.config.parser import Parser
from distcnn.config.subcommand import subcommand_main
from distcnn.errors import ConfigError
from distcnn.parallel.world import run
from distcnn.system.terminal_text import say

if TYPE_CHECKING:
    from distcnn.models.base import Network, Shape

MODEL = "NAME, FILE.txt, FILE.py:FUNCTION or MODULE:FUNCTION"


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Return the parsed command line; its attribute `command` is the function to call with it."""
    parser = Parser("python -m distcnn.models", description="Look at a network before it is trained.")
    commands = parser.add_subparsers(required=True, metavar="list|write|show")
    commands.add_parser("list", help="list all models by name").set_defaults(command=list_models)
    text = "write the layers in the notation of networks, which --model takes"
    writes = _with_model(commands.add_parser("write", help=text, description=text), write)
    writes.add_argument("out", metavar="OUT.txt", nargs="?", help="[the terminal]")
    text = "draw the layers and their shapes into a PNG file"
    _with_model(commands.add_parser("show", help=text, description=text), show).add_argument(
        "out", metavar="OUT.png"
    )
    return parser.parse_args(words)


def _with_model(command: argparse.ArgumentParser, function: object) -> argparse.ArgumentParser:
    """Add the arguments that name a network to a command, and return it."""
    command.add_argument("model", metavar="MODEL", help=MODEL)
    command.add_argument(
        "--input", metavar="CxHxW", help="the shape of images [that for which a model was designed]"
    )
    command.add_argument("--classes", metavar="K", help="the number of classes [10]", default="10")
    command.add_argument(
        "--layers", metavar="FILE.py|MODULE", help="your code that defines layers of the net"
    )
    command.add_argument("--force", action="store_true", help="replace the file if it exists")
    command.set_defaults(command=function)
    return command


def list_models(arguments: argparse.Namespace) -> None:
    """Run the command `list`."""
    from distcnn.models.catalog import list_models as table

    print(table())


def write(arguments: argparse.Namespace) -> None:
    """Run the command `write`."""
    from distcnn.system.atomic_files import require_free, write_whole

    network, _ = _network(arguments)
    if arguments.out is None:
        return print(network.text, end="")
    require_free(arguments.out, arguments.force)
    write_whole(arguments.out, network.text.encode())
    say(f"wrote {arguments.out}")


def show(arguments: argparse.Namespace) -> None:
    """Run the command `show`; OUT.png appears complete or not at all."""
    from distcnn.models.drawing import draw
    from distcnn.system.atomic_files import require_free, write_whole

    if not arguments.out.lower().endswith(".png"):
        raise ConfigError(f"{arguments.out} is not a name for a picture; wanted one that ends in .png")
    require_free(arguments.out, arguments.force)
    network, shape = _network(arguments)
    title = model_word.parse(arguments.model).title
    write_whole(arguments.out, draw(network.layers, shape, title))
    say(f"wrote {arguments.out}")


def _network(arguments: argparse.Namespace) -> tuple[Network, Shape]:
    """Return the network that the arguments name, and the shape of its images."""
    from distcnn.models import networks
    from distcnn.models.base import Network
    from distcnn.models.catalog import MODELS

    networks.check(arguments.model)
    known = MODELS.get(arguments.model)
    shape = _shape(arguments.input) if arguments.input else known.input_shape if known else None
    if shape is None:
        raise ConfigError(
            f"--input is missing: the shape of the images of {arguments.model}, for example 3x32x32"
        )
    sources = networks.code_sources(arguments.model, arguments.layers)
    text = networks.network_text(arguments.model, shape, _classes(arguments.classes), sources)
    return Network(text, networks.read_layers(text, arguments.model, sources), {}), shape


def _shape(text: str) -> Shape:
    """Return (c, h, w) for "CxHxW"."""
    found = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})x([1-9]\d{0,5})", text, re.ASCII)
    if not found:
        raise ConfigError(
            f"--input {text[:50]!r} is not valid; wanted channels, rows and columns, for example 3x32x32"
        )
    return int(found[1]), int(found[2]), int(found[3])


def _classes(text: str) -> int:
    """Return the number of classes in a text."""
    if not re.fullmatch(r"[1-9]\d{0,5}", text, re.ASCII):
        raise ConfigError(f"--classes {text[:50]!r} is not valid; wanted a whole number from 1 on")
    return int(text)


main = subcommand_main(parse)

if __name__ == "__main__":
    run(main)
