"""Command lines whose mistakes are one line and an exception, so that one rank can tell them."""

import argparse

from distcnn.errors import ConfigError


class Parser(argparse.ArgumentParser):
    """An argument parser that raises ConfigError, and takes no abbreviations."""

    def __init__(self, prog, **options):
        super().__init__(prog=prog, allow_abbrev=False, **options)

    def error(self, message):
        raise ConfigError(f"{message.removeprefix('argument ')}; see {self.prog} --help")
