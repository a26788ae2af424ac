"""The command `python -m distcnn.bench tiles`: measure the candidate tiles of every kernel on this processor."""

import sys

from distcnn.config.startup import begin

if __name__ == "__main__":
    begin(sys.argv[1:])  # before the imports below and in main, which need NumPy and Numba

import argparse


def main() -> None:
    """Run the command; the exit code is 1 if a tile in use is slow, because it spills registers."""
    what = "Measure the candidate tiles of every kernel on this processor."
    parser = argparse.ArgumentParser(prog="python -m distcnn.bench", description=what)
    commands = parser.add_subparsers(dest="command", required=True)
    tiles_help = "print a line for each kernel and shape, the fastest tile first"
    tiles = commands.add_parser("tiles", help=tiles_help)
    every = "try every tile that might fit, not only those in the table"
    tiles.add_argument("--every", action="store_true", help=every)
    tiles.add_argument("--only", default="", metavar="TEXT", help="only lines whose name contains TEXT")
    options = parser.parse_args()

    from distcnn.bench.measure import one_core
    from distcnn.bench.tiles import table

    one_core()
    sys.exit(min(1, table(options.every, options.only)))


if __name__ == "__main__":
    main()
