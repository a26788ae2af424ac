"""The command `python -m distcnn.data`: make the file of a dataset, or show what a file contains.

python -m distcnn.data import SOURCE OUT.h5    from a folder or an archive; --help lists the formats
python -m distcnn.data info FILE.h5 [...]      exit code 2 if something is wrong with the files
python -m distcnn.data show FILE.h5 OUT.png    samples and their classes; with --augment LIST as training distorts them
"""

from __future__ import annotations

import sys

from distcnn.config.startup import begin

if __name__ == "__main__":
    begin(sys.argv[1:])  # before the imports below, which need NumPy, Numba and MPI

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from distcnn.config.augment_spec import NONE, read
from distcnn.config.parser import Parser
from distcnn.data import import_command
from distcnn.data.data_options import add_data_options
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
    import_command.add(commands)
    _add_info(commands)
    _add_show(commands)
    return parser.parse_args(words)


def _add_info(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("info", help="print what a file contains and what is wrong with it")
    command.add_argument("files", metavar="FILE.h5", nargs="+", help="the files of a dataset")
    add_data_options(command)
    command.set_defaults(command=info)


def _add_show(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "show", help="draw samples of all splits, with their classes, into a picture"
    )
    command.add_argument("file", metavar="FILE.h5")
    command.add_argument("out", metavar="OUT.png")
    augment = "also draw the samples as training with this option distorts them"
    command.add_argument("--augment", metavar="LIST", default=NONE, help=augment)
    command.add_argument("--force", action="store_true", help="replace OUT.png if it exists")
    add_data_options(command)
    command.set_defaults(command=show)


def info(arguments: argparse.Namespace) -> None:
    """Run the command `info`: print what a file contains; raise DataError if something is wrong with it."""
    from distcnn.data.info import report
    from distcnn.data.wanted import Wanted

    found = report(arguments.files, Wanted.of(arguments))
    marked = [f"CHECK  {each}" for each in found.odd] + [f"WRONG  {each}" for each in found.wrong]
    for line in [*found.lines, *marked]:
        say(line)
    if found.wrong:
        what = f"{counted(len(found.wrong), 'thing')} {'is' if len(found.wrong) == 1 else 'are'} wrong"
        raise DataError(f"{arguments.files[0]}: {what}, listed above as WRONG")


def show(arguments: argparse.Namespace) -> None:
    """Run the command `show`; OUT.png appears complete or not at all."""
    from distcnn.data.show import ENDINGS, sheet
    from distcnn.data.wanted import Wanted
    from distcnn.system.atomic_files import require_free, write_whole

    try:
        read(arguments.augment)
    except ValueError as error:
        raise ConfigError(f"--augment: {error}") from None
    ending = Path(arguments.out).suffix.lower()
    if ending not in ENDINGS:
        raise OutputError(f"{arguments.out}: wanted a name that ends in {', '.join(ENDINGS)}")
    require_free(arguments.out, arguments.force)
    write_whole(arguments.out, sheet(arguments.file, arguments.augment, Wanted.of(arguments), ending))
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
