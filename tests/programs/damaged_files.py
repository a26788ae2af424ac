"""Damage checkpoints, data files and archives at random and read them.

    python -m tests.programs.damaged_files [COUNT] [--seed S] [--kind KIND ...]

Each damaged file is read in a process of its own, which has limited memory and time. It must be refused in one
line, or give exactly what the whole file gives. Six of ten mutations hit metadata, half of these where it is not
zero, and a quarter where a shape is written. The probe of a data file, see distcnn.data.sandbox, runs in a fork
here, as Python takes longer to start than the file to read; every 50th runs in a subprocess, as in training.
Signed checkpoints and archives bear the right checksums after a mutation, as whoever makes one can write them. With a
used checkpoint, which is a signed one, the commands evaluate, predict and train, which resumes from it.
"""

import hashlib
import os
import random
import struct
import sys
import tempfile
from pathlib import Path

import h5py

from distcnn.data import sandbox_probe
from distcnn.data.dataset import load
from distcnn.data.importers.sources import read_source
from distcnn.parallel.serial import SerialComm
from distcnn.run import checkpoint, checkpoint_sandbox
from distcnn.run.hdf5_image import unpack
from tests.programs import harm
from tests.programs.whole_files import KINDS, saved, use

METADATA = 0.6  # of the mutations


# ---- checksums ----


def sign_tar(content):
    """Return a .tar in which every header bears its right checksum."""
    content = bytearray(content)
    for start in range(0, len(content) - 511, 512):
        block = content[start : start + 512]
        if block[257:262] == b"ustar":
            block[148:156] = b" " * 8
            content[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    return bytes(content)


def sign_checkpoint(content):
    """Return a checkpoint whose header bears the checksum of the rest."""
    image = bytes(content[checkpoint.HEADER :])
    return checkpoint._header(image) + image


SIGN = {
    "signed": sign_checkpoint,
    "used": sign_checkpoint,
    "tar": sign_tar,
    "cifar": sign_tar,
}  # what signs a file again
ANY = {
    *SIGN,
    "tar.xz",
    "tar.gz",
    "zip",
}  # may give other contents than the whole file, if they are read at all


def samples_of(path):
    """Return the ranges of a file that hold samples; all else is metadata."""
    if path.suffix != ".h5":
        return []
    found = []

    def add(name, item):
        if isinstance(item, h5py.Dataset) and item.chunks:
            chunks = [item.id.get_chunk_info(k) for k in range(item.id.get_num_chunks())]
            found.extend((chunk.byte_offset, chunk.byte_offset + chunk.size) for chunk in chunks)
        elif isinstance(item, h5py.Dataset):
            found.append((item.id.get_offset(), item.id.get_offset() + item.id.get_storage_size()))

    with h5py.File(path) as file:
        file.visititems(add)
    return found


# ---- mutations ----


def flip(rng, content, place):
    """Flip a bit."""
    content[place] ^= 1 << rng.randrange(8)


def scatter(rng, content, place):
    """Replace a few bytes near each other."""
    for _ in range(rng.randrange(1, 9)):
        content[min(len(content) - 1, place + rng.randrange(32))] = rng.randrange(256)


def number(rng, content, place):
    """Replace a number, perhaps a size, a shape or an address, by an odd one."""
    width = rng.choice((1, 2, 4, 8))
    odd = (0, 1, 2, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1, len(content), rng.randrange(2**16))
    place -= place % width
    piece = struct.pack("<Q", rng.choice(odd))[:width]
    content[place : place + width] = piece[: len(content) - place]


def erase(rng, content, place):
    """Set a run of bytes to zeros or ones."""
    end = min(len(content), place + rng.randrange(1, 65))
    content[place:end] = rng.choice((b"\0", b"\xff")) * (end - place)


def swap(rng, content, place):
    """Copy some bytes from elsewhere, such as one type over another."""
    size = rng.choice((4, 8, 16, 24, 40))
    other = rng.randrange(len(content))
    piece = content[other : other + size]
    content[place : place + len(piece)] = piece[: len(content) - place]


def cut(rng, content, place):
    """End the file early."""
    del content[place:]


MUTATIONS = (flip, flip, scatter, number, number, number, erase, swap, swap, cut)


def mutate(rng, content, places):
    """Return a damaged copy, and how it was done."""
    content = bytearray(content)
    kind = rng.choices(
        ("any", "metadata", "filled", "shapes"), (1 - METADATA, *(METADATA * k / 4 for k in (1, 2, 1)))
    )
    place = rng.choice(places[kind[0]])
    mutation = rng.choice(MUTATIONS)
    mutation(rng, content, place)
    return bytes(content), f"{mutation.__name__} at {place}"


def places_of(content, inside):
    """Return where to hit a file, by kind of place; inside: the ranges that hold samples."""
    metadata = [k for k in range(len(content)) if not any(a <= k < b for a, b in inside)]
    sizes = {struct.pack("<Q", size) for size in (60, 20, 6, 5, 16, 7, 3)}
    found = {
        "any": range(len(content)),
        "metadata": metadata,
        "filled": [k for k in metadata if content[k]],
        "shapes": [k for k in metadata if content[k : k + 8] in sizes],
    }
    return {kind: list(places) or list(metadata) for kind, places in found.items()}


# ---- readers ----


def read(path):
    """Return a digest of all that a file gives."""
    if path.suffix == ".checkpoint":
        state = checkpoint.load(path)
        return hashlib.sha256(repr(vars(state)).encode() + state.parameters.tobytes()).hexdigest()
    if path.suffix == ".used":
        return use(path)
    if path.suffix != ".h5":
        return repr(read_source(path))
    data = load(path, SerialComm())
    return f"{data.fingerprint} {data.classes}"


def forked_checkpoint_probe(image):
    """Read a checkpoint's content in a fork, in place of a fresh process."""
    pid = os.fork()
    if pid == 0:
        sandbox_probe.limit()
        try:
            unpack(image)
        except BaseException:
            os._exit(sandbox_probe.UNREADABLE)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), "no"


def tried(path, wanted, subprocess):
    """Read a file in a process of its own; return a word for what happened, and a text.

    wanted: the digest of the whole file, None if any will do; subprocess: whether the probe runs in one
    """

    def use():
        if not subprocess:
            harm.probe_in_forks()
            checkpoint_sandbox.run_probe = forked_checkpoint_probe
        found = read(path)
        return wanted in (None, found)

    return harm.tried(use)


def main(words):
    """Print a table, and return 1 if any file did harm: was not refused, and was not read as the whole file is."""
    parser, kinds = harm.parser(10_000), list(KINDS)
    parser.add_argument("--kind", choices=kinds, nargs="+", default=kinds, help="damage these files only")
    parser.add_argument("--keep", type=Path, help="a folder for files that do harm")
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        whole = {kind: made(kind, Path(folder)) for kind in options.kind}
        return try_files(whole, options)


def made(kind, folder):
    """Make a whole file; return its path, its content, the places to hit, and what it gives."""
    make = KINDS[kind]
    ending = "checkpoint" if make is saved else kind if kind in ANY else "h5"
    path = folder / f"{kind}.{ending}"
    make(path)
    content, inside = path.read_bytes(), samples_of(path)
    return path, content, places_of(content, inside), read(path)


def try_files(whole, options):
    """Read damaged files again and again; return the exit code.

    whole: what `made` returns, by kind.
    options: those of the command line.
    """
    table = harm.Harm("file", ("refused", "read", "unchanged"))
    rng = random.Random(options.seed)
    for k in range(options.count):
        kind = rng.choice(options.kind)
        path, content, places, wanted = whole[kind]
        damaged, how = mutate(rng, content, places)
        if damaged == content:
            table.add(kind, "unchanged", how)
            continue
        path.write_bytes(SIGN[kind](damaged) if kind in SIGN else damaged)
        word, text = tried(path, None if kind in ANY else wanted, k % 50 == 0)
        if table.add(kind, word, f"{k} {how}: {word} {text[:300]}") and options.keep:
            (options.keep / f"{k}-{path.name}").write_bytes(damaged)
    return table.report(f"{options.count} mutations")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
