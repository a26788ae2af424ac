"""The command `python -m distcnn.data`: make the file of a dataset, or show what a file contains.

python -m distcnn.data import SOURCE OUT.h5    from a folder or an archive; --help lists the formats
python -m distcnn.data info FILE.h5            exit code 2 if something is wrong with the file
python -m distcnn.data show FILE.h5 OUT.png    samples; with --augment LIST also as training distorts them
"""

from __future__ import annotations

import sys

from distcnn.config.startup import begin

if __name__ == "__main__":
    begin(sys.argv[1:])  # before the imports below, which need NumPy, Numba and MPI

import argparse
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from distcnn.config.augment_spec import NONE, read
from distcnn.config.parser import Parser
from distcnn.errors import ConfigError, DataError, OutputError
from distcnn.parallel.world import on_root, run
from distcnn.system.counts import counted
from distcnn.system.terminal_text import say

if TYPE_CHECKING:
    from distcnn.parallel.comm import Comm


def parse(words: list[str]) -> argparse.Namespace:
    """Return the parsed command line; its attribute `command` is the function to call with it."""
    description = "Make the file of a dataset, or show what a file contains."
    parser = Parser("python -m distcnn.data", description=description)
    commands = parser.add_subparsers(required=True, metavar="import|info|show")
    _add_import(commands)
    _add_info(commands)
    _add_show(commands)
    return parser.parse_args(words)


def _add_import(commands: argparse._SubParsersAction) -> None:
    from distcnn.data.importers.sources import titles

    what = f"make an HDF5 file from {titles()}"
    command = commands.add_parser("import", help=what, description=f"{what[0].upper()}{what[1:]}.")
    command.add_argument("source", metavar="SOURCE", help="a folder, .tar, .tar.xz, .tar.gz or .zip")
    command.add_argument("out", metavar="OUT.h5")
    command.add_argument("--force", action="store_true", help="replace OUT.h5 if it exists")
    command.add_argument("--size", metavar="HxW", help="resize images to H rows and W columns of pixels")
    gray = "convert images to gray; without this option they become gray only if all image files are gray"
    command.add_argument("--gray", "--grey", action="store_true", help=gray)
    command.set_defaults(command=import_)


def _add_info(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("info", help="print what a file contains and what is wrong with it")
    command.add_argument("file", metavar="FILE.h5")
    command.set_defaults(command=info)


def _add_show(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("show", help="draw some training samples into a PNG file")
    command.add_argument("file", metavar="FILE.h5")
    command.add_argument("out", metavar="OUT.png")
    augment = "also draw the samples as training with this option distorts them"
    command.add_argument("--augment", metavar="LIST", default=NONE, help=augment)
    command.add_argument("--force", action="store_true", help="replace OUT.png if it exists")
    command.set_defaults(command=show)


def import_(arguments: argparse.Namespace) -> None:
    """Run the command `import`; OUT.h5 appears complete or not at all."""
    from distcnn.data.importers.importer import Options
    from distcnn.data.importers.sources import read_source
    from distcnn.data.importers.writer import write
    from distcnn.system.atomic_files import require_free

    size = _size(arguments.size) if arguments.size is not None else None
    require_free(arguments.out, arguments.force)
    found = read_source(arguments.source, Options(size, arguments.gray, _progress))
    write(arguments.out, found)
    counts = ", ".join(f"{len(labels):,} {split}" for split, (_, labels) in found.splits.items())
    shape = " x ".join(map(str, found.splits["train"][0].shape[1:]))
    say(f"wrote {arguments.out}: {counts} images {shape}, {counted(len(found.classes), 'class')}")
    say(f"see python -m distcnn.data info {arguments.out}")


def _size(text: str) -> tuple[int, int]:
    """Return (h, w) for "HxW"."""
    match = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})", text, re.ASCII)
    if not match:
        raise ConfigError(f"--size {text[:50]!r} is not valid; wanted HxW, in pixels, for example 224x224")
    return int(match[1]), int(match[2])


def _progress(items: Iterable, title: str, total: int | None = None) -> Iterable:
    """Yield the items; on a terminal, show a progress bar with the title and the total."""
    from tqdm import tqdm

    return tqdm(items, title, total, unit=" images", leave=False, disable=None)


def info(arguments: argparse.Namespace) -> None:
    """Run the command `info`: print what a file contains; raise DataError if something is wrong with it."""
    from distcnn.data.info import report

    lines, wrong = report(arguments.file)
    for line in [*lines, *(f"WRONG  {problem}" for problem in wrong)]:
        say(line)
    if wrong:
        what = f"{counted(len(wrong), 'thing')} {'is' if len(wrong) == 1 else 'are'} wrong"
        raise DataError(f"{arguments.file}: {what}, listed above as WRONG")


def show(arguments: argparse.Namespace) -> None:
    """Run the command `show`; OUT.png appears complete or not at all."""
    from distcnn.data.show import sheet
    from distcnn.system.atomic_files import require_free, write_whole

    try:
        read(arguments.augment)
    except ValueError as error:
        raise ConfigError(f"--augment: {error}") from None
    if not arguments.out.lower().endswith(".png"):
        raise OutputError(f"{arguments.out}: the picture is a PNG; wanted a name that ends in .png")
    require_free(arguments.out, arguments.force)
    write_whole(arguments.out, sheet(arguments.file, arguments.augment))
    say(f"wrote {arguments.out}")


def main(comm: Comm) -> None:
    """Run the command on rank 0."""

    def work() -> None:
        """Parse the command line and call its command."""
        arguments = parse(sys.argv[1:])
        arguments.command(arguments)

    on_root(comm, work)


if __name__ == "__main__":
    run(main)
