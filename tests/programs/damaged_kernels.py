"""Damage the cache of compiled kernels and train with it: the bits must be right, whatever lies in the cache.

    python -m tests.programs.damaged_kernels [COUNT] [--seed S] [--compile-every K]

A case damages one file of the cache, or its folder, in one way; the cases take all pairs of a file and a way in turn.
Then a small net is trained from the command line's words to its end, in a fork of this process, which has imported
everything and loaded no kernel. It must exit with code 0, print the right digest and nothing but warnings of one
line. Either the damaged kernel was loaded all the same, or it was compiled anew and, where that is possible, saved.
Compiling takes five times as long as all else, so that only every K-th case compiles; the others, when they are to
compile, load a copy of the sound file, and save it.
"""

import itertools
import os
import pickle
import random
import shutil
import signal
import stat
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import numba

from distcnn import train
from distcnn.kernels.numba_abi import Compiler
from distcnn.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from distcnn.models import MODELS
from distcnn.models.base import Model
from distcnn.parallel import world
from distcnn.parallel.serial import SerialComm
from distcnn.run.curves import Curves
from distcnn.system import checked_file
from tests.programs import harm
from tests.programs.damaged_files import cut, erase, flip, number, scatter, swap

LIMIT = 1800  # seconds that a case may take on a busy machine
STRANGER = 65534  # another user
WORDS = "train --model tiny --max-steps 2 --threads 1 --progress none --out"
BAD = "code", "digest", "words", "hang", "file"


def tiny(input_shape, classes):
    """Return a net with few kernels, which are compiled fast."""
    return [Conv2D(2, 3), ReLU(), MaxPool2D(2), Flatten(), Dense(classes)]


# ---- ways to damage: each takes random numbers, the file and its sound content ----


def within(mutation):
    """Return a way that mutates the content at a random place."""

    def way(rng, path, content):
        changed = bytearray(content)
        mutation(rng, changed, rng.randrange(len(changed)))
        path.write_bytes(changed)

    way.__name__ = mutation.__name__
    return way


def empty(rng, path, content):
    path.write_bytes(b"")


def zeros(rng, path, content):
    path.write_bytes(bytes(len(content)))


def noise(rng, path, content):
    path.write_bytes(rng.randbytes(rng.choice((1, 31, 32, 33, len(content)))))


def longer(rng, path, content):
    path.write_bytes(content + rng.randbytes(rng.randrange(1, 99)))


def twice(rng, path, content):
    path.write_bytes(content + content)


def shifted(rng, path, content):
    path.write_bytes(content[rng.randrange(1, 64) :])


def head_flip(rng, path, content):
    """Flip a bit of the checksum."""
    changed = bytearray(content)
    flip(rng, changed, rng.randrange(checked_file.DIGEST))
    path.write_bytes(changed)


def other_file(rng, path, content):
    """Put another kernel's file, which is sound, in the place."""
    others = [each for each in path.parent.glob("*.nbc") if each != path]
    shutil.copyfile(rng.choice(others), path)


def foreign(rng, path, content):
    """Give the right checksum to a content that is none of ours."""
    unknown = b"\x80\x04\x8c\x08no_module\x8c\x01x\x93."  # a pickle of what is not there
    checked_file.write(path, rng.choice((unknown, pickle.dumps(([], 0)), pickle.dumps(7), b"", b"no pickle")))


def removed(rng, path, content):
    path.unlink()


def folder(rng, path, content):
    path.unlink()
    path.mkdir()


def link(rng, path, content):
    """Put a link in the place: to a sound copy, to nothing, or to itself."""
    path.unlink()
    target = path.with_suffix(".moved")
    if rng.random() < 0.5:
        target.write_bytes(content)
    path.symlink_to(rng.choice((target, path)))


def pipe(rng, path, content):
    path.unlink()
    os.mkfifo(path)


def forbidden(rng, path, content):
    """Take away the right to read, or give the file to somebody else."""
    if os.geteuid() == 0:
        os.chown(path, STRANGER, -1)
    path.chmod(0)


def leftovers(rng, path, content):
    """Leave partly written files beside a damaged one, as a machine that crashes does."""
    for ending in (".tmp", ".nbc", ""):
        path.with_name(f".{path.name}.0{ending}").write_bytes(content[: rng.randrange(len(content))])
    path.write_bytes(content[: rng.randrange(len(content))])


def folder_is_a_file(rng, path, content):
    shutil.rmtree(path.parent)
    path.parent.write_bytes(b"")


def folder_of_all(rng, path, content):
    """Let everybody write to the folder."""
    path.parent.chmod(0o777)


WAYS = [
    *map(within, (flip, scatter, number, erase, swap, cut)),
    *(empty, zeros, noise, longer, twice, shifted, head_flip, other_file, foreign),
    *(removed, folder, link, pipe, forbidden, leftovers),
]
RARE = folder_is_a_file, folder_of_all  # all kernels are compiled then
EVERY = 50  # one case of so many is of these


def cases(files, rng):
    """Yield (file, way) without end: all pairs in a random order, again and again."""
    for k in itertools.count():
        pairs = [*itertools.product(files, WAYS)]
        rng.shuffle(pairs)
        for i, pair in enumerate(pairs):
            if i % EVERY == EVERY - 1:
                yield pair[0], RARE[(k + i // EVERY) % len(RARE)]
            yield pair


# ---- training ----


def trained(place, whole=None):
    """Train in a process of its own; return its exit code, below 0 for a signal, and what it has printed.

    whole: the folder of sound files to load in place of compiling; None to compile.
    """
    out = tempfile.mkdtemp(dir=place)
    with tempfile.TemporaryFile(dir=place) as said, tempfile.TemporaryFile(dir=place) as warned:
        pid = os.fork()
        if pid == 0:
            os.dup2(said.fileno(), 1)
            os.dup2(warned.fileno(), 2)
            if whole:
                compile_from(whole)
            _train(out)
        _, status = os.waitpid(pid, 0)
        shutil.rmtree(out)
        code = os.waitstatus_to_exitcode(status)
        return code, *(os.pread(each.fileno(), 2**20, 0).decode() for each in (said, warned))


def _train(out):
    """Train and end this process as the command does."""
    signal.alarm(LIMIT)
    code = 1
    with suppress(BaseException):
        sys.argv = [*WORDS.split(), out]
        try:
            world.run(train.main)
        except SystemExit as end:
            code = end.code or 0
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def compile_from(whole):
    """Let compilers load from a folder of sound files, and save what they have loaded."""

    def compile_(compiler):
        folder = whole / compiler.folder.name if compiler.folder else next(whole.iterdir())
        sound = Compiler(compiler.function, compiler.signature, folder, **compiler.options)
        compiler.loaded = sound.load()
        if compiler.folder:
            checked_file.write(compiler.file.path, checked_file.read(sound.file.path))
        return compiler.loaded

    Compiler.compile, Compiler.compiled = compile_, lambda compiler: compiler.loaded


def prepare():
    """Import what training needs, so that a fork need not, and load no kernel."""
    MODELS["tiny"] = Model(tiny, (1, 8, 8))
    world.world = SerialComm
    Curves.draw = lambda self: None  # another process, which takes longer than all else
    numba.njit("f8(f8)")(lambda x: x + 1)
    sys.stdout.reconfigure(encoding="utf-8")


def verdict(result, wanted, path, way):
    """Return a word for what a damaged cache has done.

    result: the exit code, the output and the warnings.
    wanted: the output with a sound cache.
    """
    code, said, warned = result
    if code:
        return "hang" if code == -signal.SIGALRM else "code"
    if said.splitlines()[-1:] != wanted.splitlines()[-1:]:
        return "digest"
    if any(not line.startswith("distcnn: warning: ") for line in warned.splitlines()):
        return "words"
    if way not in (folder, *RARE) and not sound(path):
        return "file"
    return "compiled" if warned or way in (removed, foreign) else "loaded"


def sound(path):
    """Return whether the file in the cache is whole, and the user's own."""
    try:
        return checked_file.read(path) is not None and stat.S_ISREG(os.lstat(path).st_mode)
    except (ValueError, OSError):
        return False


def main(words):
    """Print a table, and return 1 if any damage did harm."""
    parser = harm.parser(2000)
    parser.add_argument("--compile-every", type=int, default=20, metavar="K")
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as name:
        os.environ |= {"XDG_CACHE_HOME": str(Path(name, "cache")), "TMPDIR": name}
        os.environ.pop("NUMBA_CACHE_DIR", None)
        tempfile.tempdir = name
        prepare()
        return try_cases(Path(name), options)


def try_cases(place, options):
    """Train with a damaged cache again and again, each time from a sound one; return the exit code.

    place: an empty folder.
    options: those of the command line.
    """
    cache, whole = place / "cache", place / "whole"
    table, rng = harm.Harm("way", ("compiled", "loaded"), BAD, width=18), random.Random(options.seed)
    first = trained(place)
    if first[0]:
        sys.exit(f"a sound cache: exit code {first[0]}\n{first[2]}")
    shutil.copytree(cache, whole)
    files = sorted(cache.rglob("*.nbc"))
    contents = {path: path.read_bytes() for path in files}
    for k, (path, way) in enumerate(itertools.islice(cases(files, rng), options.count), 1):
        way(rng, path, contents[path])
        result = trained(place, whole / "distcnn" if k % options.compile_every else None)
        word = verdict(result, first[1], path, way)
        if table.add(way.__name__, word, f"of {path.name}: {word}"):
            print(*result, flush=True)
        shutil.rmtree(cache)
        shutil.copytree(whole, cache)
        if k % 100 == 0:
            print(f"{k}, {table.seconds:.0f} s", flush=True)
    return table.report(f"{options.count} caches of {len(files)} files")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
