"""The main function of programs that have subcommands, each of which rank 0 runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from distcnn.parallel.collective import on_root
from distcnn.parallel.comm import Comm


def subcommand_main(parse: Callable[[Sequence[str]], argparse.Namespace]) -> Callable[[Comm], None]:
    """Return a main function, for `distcnn.parallel.world.run`, that parses the command line and calls its subcommand.

    parse: returns the parsed command line, whose attribute `command` is the function to call with it.
    """

    def work() -> None:
        arguments = parse(sys.argv[1:])
        arguments.command(arguments)

    def main(comm: Comm) -> None:
        """Run the subcommand on rank 0."""
        on_root(comm, work)

    return main
