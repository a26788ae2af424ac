"""The main function of programs that have subcommands."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from distcnn.parallel.collective import on_root
from distcnn.parallel.comm import Comm


def subcommand_main(parse: Callable[[Sequence[str]], argparse.Namespace]) -> Callable[[Comm], None]:
    """Return a main function, for `distcnn.parallel.world.run`, that parses the command line and calls its subcommand.

    parse: returns the parsed command line. Its attribute `command` is the function that rank 0 calls with it; if there
        is an attribute `is_collective` that is true, all ranks call it with the command line and the communicator.
    """

    def main(comm: Comm) -> None:
        """Run the subcommand on rank 0 or, if it is collective, on all ranks."""
        arguments = on_root(comm, lambda: parse(sys.argv[1:]))
        if getattr(arguments, "is_collective", False):
            arguments.command(arguments, comm)
        else:
            on_root(comm, arguments.command, arguments)

    return main
