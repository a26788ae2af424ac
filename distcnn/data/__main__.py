"""Make a dataset's file, or tell what one holds.

python -m distcnn.data import FOLDER OUT.h5 [--force]    from MNIST's four IDX files, plain or .gz
python -m distcnn.data info FILE.h5                      exit code 2 when something is wrong with it
"""

import argparse
import os
import sys

from distcnn.arguments import Parser
from distcnn.errors import DataError, OutputError
from distcnn.parallel.world import on_root, run


def parse(words: list[str]) -> argparse.Namespace:
    """Return the command line as `command`, the function to call, and its arguments."""
    parser = Parser("python -m distcnn.data", description="Make a dataset's file, or tell what one holds.")
    commands = parser.add_subparsers(required=True, metavar="import|info")
    command = commands.add_parser(
        "import", help="make an HDF5 file from MNIST's four IDX files, plain or .gz"
    )
    command.add_argument("source", metavar="FOLDER")
    command.add_argument("out", metavar="OUT.h5")
    command.add_argument("--force", action="store_true", help="replace OUT.h5 if it is there")
    command.set_defaults(command=import_)
    command = commands.add_parser("info", help="tell what a file holds and what is wrong with it")
    command.add_argument("file", metavar="FILE.h5")
    command.set_defaults(command=info)
    return parser.parse_args(words)


def import_(arguments: argparse.Namespace) -> None:
    """Write OUT.h5 whole or not at all, from a folder of IDX files."""
    from distcnn.data.idx import to_hdf5
    from distcnn.files import write_whole

    if os.path.lexists(arguments.out) and not arguments.force:
        raise OutputError(
            f"{arguments.out} is there already: choose another name, or replace it with --force"
        )
    write_whole(arguments.out, to_hdf5(arguments.source))
    print(f"wrote {arguments.out}; see python -m distcnn.data info {arguments.out}")


def info(arguments: argparse.Namespace) -> None:
    """Print what a file holds; raise DataError when something is wrong with it."""
    from distcnn.data.info import report

    lines, wrong = report(arguments.file)
    print(*lines, *(f"WRONG  {problem}" for problem in wrong), sep="\n")
    if wrong:
        raise DataError(f"{arguments.file}: {len(wrong)} things are wrong, listed above as WRONG")


def main(comm) -> None:
    """Run the command on rank 0."""

    def work():
        arguments = parse(sys.argv[1:])
        arguments.command(arguments)

    on_root(comm, work)


if __name__ == "__main__":
    run(main)
