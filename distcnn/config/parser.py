"""Command lines whose mistakes are one line and an exception, so that one rank can tell them."""

import argparse

from distcnn.errors import ConfigError


class Once(argparse.Action):
    """Stores a value, once: of two, the user may mean either."""

    def __call__(self, parser, namespace, values, option=None):
        if option and self.dest in parser.given:
            parser.error(f"{option} is given twice; wanted it once")
        parser.given.add(self.dest)
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
    """An argument parser that raises ConfigError, takes no abbreviations, and each option once."""

    def __init__(self, prog, **options):
        super().__init__(prog=prog, allow_abbrev=False, **options)
        self.register("action", None, Once)
        self.given = set()

    def parse_known_args(self, args=None, namespace=None):
        self.given.clear()
        return super().parse_known_args(args, namespace)

    def error(self, message):
        raise ConfigError(f"{message.removeprefix('argument ')}; see {self.prog} --help")
