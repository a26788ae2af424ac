"""Command-line parsers that raise an exception with a message of one line, so that one rank can report it for all."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from distcnn.config.hints import option_hint, suggestion
from distcnn.config.old_names import american
from distcnn.config.settings import SETTINGS, Config, Request, kind, needs, option, validated
from distcnn.config.toml import read_file
from distcnn.config.versions import version
from distcnn.errors import ConfigError

CHOICES = re.compile(r"invalid choice: '(.*)' \(choose from (.*)\)")  # argparse's message


class Once(argparse.Action):
    """Stores the value of an option; a repeated option is an error."""

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        if option_string and self.dest in parser.given:
            parser.error(f"{option_string} is given twice; wanted it once")
        parser.given.add(self.dest)
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
    """An argument parser that raises ConfigError instead of exiting, and has --version.

    Options may be given once, in British or American spelling, and not abbreviated. Messages on unknown options end
    with a hint.
    """

    def __init__(self, prog: str, **options: Any):
        super().__init__(prog=prog, allow_abbrev=False, **options)
        self.register("action", None, Once)
        self.add_argument("--version", action="version", version=version())
        self.given: set[str] = set()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse a command line as argparse does, but raise ConfigError on unknown options and arguments."""
        self.given.clear()
        words = sys.argv[1:] if args is None else args
        found, unknown = super().parse_known_args([self._respelled(word) for word in words], namespace)
        if unknown:
            word = unknown[0].partition("=")[0]
            hint = option_hint(word, self._option_string_actions) if word.startswith("-") else ""
            what = "option" if word.startswith("-") else "argument"
            raise ConfigError(f"unknown {what} {word!r}{hint or f'; see {self.prog} --help'}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError, with a hint if the message is on an invalid choice."""
        choices = CHOICES.search(message)
        if choices:
            message += suggestion(choices[1], re.findall("[a-z0-9-]+", choices[2])).removesuffix("?")
        raise ConfigError(f"{message.removeprefix('argument ')}; see {self.prog} --help")

    def _respelled(self, word: str) -> str:
        """Return a word of the command line; if it is an option, in the spelling that this parser knows."""
        name, equals, value = word.partition("=")
        if not name.startswith("--") or name in self._option_string_actions:
            return word
        same = [each for each in self._option_string_actions if american(each) == american(name)]
        return same[0] + equals + value if same else word


def parse(argv: Sequence[str], prog: str) -> Request:
    """Return the Request in the command line of a training; its options override the file that `--config` names.

    argv: the words of the command line.
    prog: the command as the user types it, for error messages.
    """
    what = "Train a network, here on one rank; under mpirun -n 8, on eight ranks, which give the same bits."
    parser = Parser(prog, usage="%(prog)s [options]", description=what, argument_default=argparse.SUPPRESS)
    parser.epilog = "In the TOML file, --batch-size 64 is written batch_size = 64. Defaults are in brackets."
    about = "read settings from a TOML file; options override it"
    parser.add_argument("--config", metavar="FILE", help=about)
    parser.add_argument("--list-models", action="store_true", help="list the models, and do nothing else")
    parser.add_argument(
        "--summary", action="store_true", help="print a table of the network, and do nothing else"
    )
    shows_help = not {"-h", "--help"}.isdisjoint(argv)  # only the help needs all choices, which import Numba
    for name in SETTINGS:
        metavar, text = (kind(name).placeholder, _help(name)) if shows_help else (None, None)
        parser.add_argument(option(name), metavar=metavar, help=text)
    words = vars(parser.parse_args(argv))
    list_models, summary = (words.pop(each, False) for each in ("list_models", "summary"))
    given = read_file(words.pop("config")) if "config" in words else {}
    for name, word in words.items():
        given[name] = validated(name, kind(name).parse(word), option(name))
    return Request(Config(**given), frozenset(given), list_models, summary)


def _help(name: str) -> str:
    """Return the help text on a setting: what it needs, what it does, its default."""
    needed = "".join(f"{option(other)} {'|'.join(values)}: " for other, values in needs(name).items())
    default = SETTINGS[name].default
    return needed + SETTINGS[name].metadata["help"] + ("" if default is None else f" [{default}]")
