"""The command `python -m distcnn.data pack SOURCE... OUT.h5`: its options, and what it prints."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from distcnn.data import import_command
from distcnn.data.data_options import ARRAYS, add_data_options
from distcnn.errors import ConfigError
from distcnn.parallel.collective import on_root
from distcnn.system.counts import counted
from distcnn.system.terminal_text import say, warn

if TYPE_CHECKING:
    from distcnn.data.packing.content import Content
    from distcnn.data.packing.pack import Choices
    from distcnn.parallel.comm import Comm

LARGEST_CHUNK = 2**26  # bytes; larger ones are refused when the file is read
SHARED = (
    "--images",
    "--labels",
    "--layout",
    "--map-labels",
    "--task",
)  # options that an import and training have


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to those of `distcnn.data`."""
    what = "store any data that training or import reads in chunks that suit streaming"
    command = commands.add_parser("pack", help=what, description=f"{what[0].upper()}{what[1:]}.")
    files = "the HDF5 files of a dataset, or one source of an import"
    command.add_argument("sources", metavar="SOURCE", nargs="+", help=files)
    command.add_argument("out", metavar="OUT.h5")
    command.add_argument("--force", action="store_true", help="replace OUT.h5 if it exists")
    level = "compress by gzip, from 1 (fast) to 9 (small) [not compressed]"
    command.add_argument("--gzip", type=_level, metavar="LEVEL", default=0, help=level)
    chunk = "the largest size of a chunk before compression, if an image is not larger [256 KiB, 2**-20 of the data]"
    command.add_argument("--chunk", type=_chunk, metavar="BYTES", help=chunk)
    processes = (
        "read and compress in this many processes, 0 for none but this one, without mpirun [the cores]"
    )
    command.add_argument("--processes", type=_count, metavar="N", help=processes)
    add_data_options(command)
    import_command.add_options(command, without=SHARED)
    command.set_defaults(command=pack, is_collective=True)


def pack(arguments: argparse.Namespace, comm: Comm) -> None:
    """Run the command on all ranks; OUT.h5 appears complete or not at all."""
    from distcnn.data.packing.pack import Choices

    choices = Choices(arguments.gzip, arguments.chunk, arguments.processes)
    content = on_root(comm, _content_of_files, arguments)
    if content is not None:
        _pack(content, arguments.out, choices, comm)
    else:
        on_root(comm, _pack_imported, arguments, choices)


def _content_of_files(arguments: argparse.Namespace) -> Content | None:
    """Return what HDF5 files hold, or None for a source of an import."""
    from distcnn.data.packing.sources import are_hdf5, content_of_files
    from distcnn.data.wanted import Wanted
    from distcnn.system.atomic_files import require_free

    require_free(arguments.out, arguments.force)
    if not are_hdf5(arguments.sources):
        return None
    if given := import_command.given_options(arguments, without=SHARED):
        kind = "is an option of an import, and these are HDF5 files, which training reads as they are"
        raise ConfigError(f"{given[0]} {kind}: leave it out")
    content = content_of_files(arguments.sources, Wanted.of(arguments))
    for note in content.notes:
        warn(note)
    return content


def _pack_imported(arguments: argparse.Namespace, choices: Choices) -> None:
    """Pack a source of an import, which one rank reads, with several processes."""
    from distcnn.data.importers.sources import read_source
    from distcnn.data.packing.sources import content_of_samples
    from distcnn.parallel.serial import SerialComm

    source = arguments.sources[0]
    for name in ARRAYS:
        words = getattr(arguments, name)
        if words and (name not in ("images", "labels") or len(words) > 1):
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(
                f"{option} {' '.join(words)}: {source} is a source of an import; name one array each, "
                f"for training, with --images and --labels"
            )
        setattr(arguments, name, words[0] if words else None)
    samples = read_source(source, import_command.chosen(arguments, source))
    _pack(content_of_samples(samples), arguments.out, choices, SerialComm())


def _pack(content: Content, out: str, choices: Choices, comm: Comm) -> None:
    """Write the file, and say what it holds."""
    from distcnn.data.packing.pack import pack
    from distcnn.data.progress import Bar

    counts = {split: images.count for split, (images, _) in content.splits.items()}
    with Bar("packing", sum(counts.values()), shown=comm.rank == 0) as bar:
        pack(content, out, choices, comm, bar.advance)
    on_root(comm, _report, out, content, counts)


def _report(out: str, content: Content, counts: dict[str, int]) -> None:
    shape = next(iter(content.splits.values()))[0].shape
    size = counted(os.path.getsize(out), "byte")
    say(f"wrote {out}: {import_command.contents(counts, shape)}, {size}")
    say(f"see python -m distcnn.data info {out}")


def _level(word: str) -> int:
    return _whole(word, 1, 9)


def _chunk(word: str) -> int:
    return _whole(word, 1, LARGEST_CHUNK)


def _count(word: str) -> int:
    return _whole(word, 0, 1024)


def _whole(word: str, least: int, most: int) -> int:
    """Return a whole number; raise ArgumentTypeError if the word is none within the limits."""
    if not (word.isascii() and word.isdigit() and len(word) <= 9 and least <= int(word) <= most):
        wanted = f"a whole number from {least} to {most:,}"
        raise argparse.ArgumentTypeError(f"{word[:50]!r} is not valid; wanted {wanted}")
    return int(word)
