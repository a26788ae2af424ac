"""The command `python -m distcnn.data import SOURCE OUT.h5`: its options, and what it prints."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from distcnn.config.tasks import TASKS
from distcnn.config.types import AUTO
from distcnn.errors import ConfigError
from distcnn.system.counts import counted
from distcnn.system.terminal_text import say, warn

if TYPE_CHECKING:
    from distcnn.data.importers.importer import Options

SEED_END = 2**64


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to those of `distcnn.data`."""
    from distcnn.data.importers.sources import titles

    what = f"make an HDF5 file from {titles()}"
    command = commands.add_parser("import", help=what, description=f"{what[0].upper()}{what[1:]}.")
    command.add_argument(
        "source", metavar="SOURCE", help="a folder, .tar, .tar.xz, .tar.gz, .zip, or a file of arrays"
    )
    command.add_argument("out", metavar="OUT.h5")
    command.add_argument("--force", action="store_true", help="replace OUT.h5 if it exists")
    command.set_defaults(command=import_)
    add_options(command)


def add_options(command: argparse.ArgumentParser, without: Iterable[str] = ()) -> None:
    """Add the options of an import to a command, but for those that it has in a form of its own."""
    for name, (text, more) in _options().items():
        if name not in without:
            command.add_argument(name, *more.pop("names", ()), help=text, **more)


def given_options(arguments: argparse.Namespace, without: Iterable[str] = ()) -> list[str]:
    """Return the options of an import that are given, but for some."""
    defaults = {
        name: more.get("default", False if "action" in more else None)
        for name, (_, more) in _options().items()
    }
    return [
        name
        for name, default in defaults.items()
        if name not in without and getattr(arguments, _attribute(name)) != default
    ]


def _attribute(name: str) -> str:
    """Return the attribute of parsed options that holds an option."""
    return name[2:].replace("-", "_")


def _options() -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the help and the arguments of argparse for each option."""
    from distcnn.data.importers.picture_size import FITS
    from distcnn.data.importers.pictures import TYPES

    fraction: dict[str, Any] = {"type": _fraction, "metavar": "FRACTION"}
    fits = "how images get that size: stretch changes proportions, crop cuts off, pad adds black [stretch]"
    gray = "convert images to gray; without this option they become gray only if all image files are gray"
    pixels = "scale images of 8 or 16 bits to bytes (uint8), or to float32 from 0 to 1 (float)"
    labels = "what holds the classes: the name of a table or an array, or the word folders"
    return {
        "--size": ("bring images to H rows and W columns of pixels", {"metavar": "HxW"}),
        "--fit": (fits, {"choices": FITS, "default": "stretch"}),
        "--gray": (gray, {"action": "store_true", "names": ["--grey"]}),
        "--pixels": (pixels, {"choices": TYPES}),
        "--skip-damaged": ("leave out images that cannot be read", {"action": "store_true"}),
        "--images": ("the array that holds the images to train with", {"metavar": "NAME"}),
        "--labels": (labels, {"metavar": "NAME"}),
        "--layout": ("the axes of images in arrays: NCHW, NHWC, NHW:64x64 or the like", {"metavar": "AXES"}),
        "--map-labels": ("make a class of each value of the labels in an array", {"action": "store_true"}),
        "--task": (
            "what labels in arrays and tables are for [auto: as their values show]",
            {"choices": (AUTO, *TASKS), "default": AUTO},
        ),
        "--label-column": (
            "the heading of the classes in a table, or the headings of several labels or targets",
            {"metavar": "NAME[,NAME...]"},
        ),
        "--test-split": ("take this fraction of the training images for the test split", fraction.copy()),
        "--validation-split": ("take this fraction of them for the validation split", fraction.copy()),
        "--seed": ("determines which images these are [0]", {"type": _seed, "default": 0, "metavar": "S"}),
    }


def import_(arguments: argparse.Namespace) -> None:
    """Run the command; OUT.h5 appears complete or not at all."""
    from distcnn.data.importers.sources import read_source
    from distcnn.data.importers.writer import write
    from distcnn.system.atomic_files import require_free

    options = chosen(arguments, arguments.source)
    require_free(arguments.out, arguments.force)
    found = read_source(arguments.source, options)
    write(arguments.out, found)
    counts = {split: len(images) for split, (images, _) in found.splits.items()}
    shape = found.splits["train"][0].shape[1:]
    outputs = counted(len(found.classes), TASKS[found.task].output)
    say(f"wrote {arguments.out}: {contents(counts, shape)}, {outputs}")
    say(f"see python -m distcnn.data info {arguments.out}")


def contents(counts: dict[str, int], shape: tuple[int, ...]) -> str:
    """Return a phrase on the images of a file; counts: of each split."""
    each = ", ".join(f"{count:,} {split}" for split, count in counts.items())
    return f"{each} images {' x '.join(map(str, shape))}"


def chosen(arguments: argparse.Namespace, source: str) -> Options:
    """Return the options of an import; source: its name, for messages."""
    from distcnn.data.importers.importer import Options

    size = _size(arguments.size) if arguments.size is not None else None
    if arguments.fit != "stretch" and size is None:
        raise ConfigError(f"--fit {arguments.fit} needs a size: add --size HxW")
    plain = set(map(_attribute, _options())) - {"size"}
    given = {name: getattr(arguments, name) for name in plain}
    return Options(size=size, **given, progress=_progress, note=lambda line: warn(f"{source}: {line}"))


def _size(text: str) -> tuple[int, int]:
    """Return (h, w) for "HxW"."""
    match = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})", text, re.ASCII)
    if not match:
        raise ConfigError(f"--size {text[:50]!r} is not valid; wanted HxW, in pixels, for example 224x224")
    return int(match[1]), int(match[2])


def _fraction(word: str) -> float:
    """Return a fraction from 0 to below 1; raise ArgumentTypeError if the word is none."""
    try:
        found = float(word)
    except ValueError:
        found = -1.0
    if not 0 <= found < 1:
        raise argparse.ArgumentTypeError(f"{word[:50]!r} is not valid; wanted a fraction from 0 to below 1")
    return found


def _seed(word: str) -> int:
    """Return a seed; raise ArgumentTypeError if the word is none."""
    if not (word.isascii() and word.isdigit() and len(word) <= 20 and int(word) < SEED_END):
        raise argparse.ArgumentTypeError(
            f"{word[:50]!r} is not valid; wanted a whole number from 0 to 2**64 - 1"
        )
    return int(word)


def _progress(items: Iterable, title: str, total: int | None = None) -> Iterable:
    """Yield the items; on a terminal, show a progress bar with the title and the total."""
    from tqdm import tqdm

    return tqdm(items, title, total, unit=" images", leave=False, disable=None)
