"""Damage HDF5 files that are read in place at random, before they are read or meanwhile, and use them in all ways.

    python -m tests.programs.in_place [COUNT] [--seed S] [--kind KIND ...]

Each folder of files is used in a process of its own, as `damaged_files` does. Every way to use it, in memory, streamed,
for prediction, by `data info` and by `data pack`, must refuse it in one line, or give the pixels that h5py reads; of
files that change meanwhile, those of before or those of afterwards. What HDF5 would read as zeros must be refused.
"""

import os
import random
import shutil
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

import h5py
import numpy as np

from distcnn.config.types import MEMORY, STREAM
from distcnn.data import hdf5_file
from distcnn.data.dataset import load
from distcnn.data.describe import describe
from distcnn.data.expected import Expected
from distcnn.data.images import load_images
from distcnn.data.info import report
from distcnn.data.packing.pack import Choices, pack
from distcnn.data.packing.sources import content_of_files
from distcnn.errors import DataError
from distcnn.parallel.serial import SerialComm
from tests.programs import harm
from tests.programs.damaged_files import mutate, places_of, samples_of
from tests.programs.layouts import LAYOUTS

READ_ERRORS = OSError, RuntimeError, KeyError, ValueError, TypeError  # of h5py
CHANGED = 0.25  # of the files are damaged while they are read
LOST = 0.04  # of the folders lose a file, or have it elsewhere
LONG_AGO = 10**9  # seconds: the time stamp of whole files
COMM = SerialComm()


# ---- ways to use files; each returns the description and the images, by split ----


def loaded(mode):
    """Return a function that loads a dataset as training does."""

    def use(files, wanted, out):
        data = load(files, COMM, wanted=wanted, mode=mode)
        splits = {name: getattr(data, name) for name in ("train", "test", "validation")}
        return data.description, {name: pixels(split.images) for name, split in splits.items() if split}

    return use


def predicted(mode):
    """Return a function that loads the images to predict."""

    def use(files, wanted, out):
        found = load_images(files, COMM, "train", Expected(named=wanted), mode)
        return describe(tuple(files), wanted), {"train": pixels(found.images)}

    return use


def informed(files, wanted, out):
    """Write the report of a file."""
    found = report(files, wanted)
    if found.wrong:
        raise DataError(found.wrong[0])
    return None, {}


def packed(files, wanted, out):
    """Pack a file, and read what was written."""
    pack(content_of_files(files, wanted), out, Choices(processes=0), COMM)
    with h5py.File(out) as file:
        found = {name: file[f"{name}/images"][:] for name in file if name in ("train", "test", "validation")}
    out.unlink()
    return describe(tuple(files), wanted), found


def pixels(images):
    """Return images that may be streamed."""
    if isinstance(images, np.ndarray):
        return images
    return np.concatenate([some.copy() for some in images.in_order()])


WAYS = {
    "memory": loaded(MEMORY),
    "stream": loaded(STREAM),
    "predict": predicted(MEMORY),
    "predict streamed": predicted(STREAM),
    "info": informed,
    "pack": packed,
}
STREAMED = {"stream", "predict streamed"}


# ---- what is right ----


def read_by_h5py(found):
    """Return the images that h5py reads, by split; None if it raises an error."""
    try:
        return {
            name: np.concatenate([array.rows(_stored(array)) for array in split.images])
            for name, split in found.splits.items()
        }
    except READ_ERRORS:
        return None


def _stored(array):
    index = [slice(None)] * len(array.shape)
    index[array.axes.sample] = slice(array.start, array.stop)
    with h5py.File(array.file, "r", locking=False) as file:
        return file[array.path][tuple(index)]


def is_right(images, *right):
    """Return whether images, by split, are those of one of several others."""
    return any(
        each is not None
        and all(np.array_equal(some.astype(each[name].dtype), each[name]) for name, some in images.items())
        for each in right
    )


# ---- damage ----


class Damage:
    """What is done to a folder, and when: before it is read, or before one of the reads."""

    def __init__(self, rng, whole, way):
        self.before = 0 if rng.random() > CHANGED else rng.randrange(1, 1 + whole.reads[way])
        self.name = rng.choice(sorted(whole.contents))
        self.kind = "changed"
        if rng.random() < LOST and self.name not in whole.layout.data:
            self.kind = rng.choice(("lost", "elsewhere"))
            self.how = self.kind
        elif self.before and rng.random() < 0.5:
            self.kind, self.how = "cut", "cut"
            self.size = rng.randrange(len(whole.contents[self.name]))
        else:
            content, how = whole.contents[self.name], []
            for _ in range(rng.choice((1, 1, 1, 3))):
                if len(content) == len(whole.contents[self.name]):  # not cut
                    content, hit = mutate(rng, content, whole.places[self.name])
                    how.append(hit)
            self.content, self.how = content, ", ".join(how)
            self.is_in_place = rng.random() < 0.5

    @property
    def must_be_refused(self):
        """Whether the damage is one that HDF5 would not notice."""
        return self.kind in ("lost", "elsewhere") and not self.before

    def do(self, folder):
        """Do the damage."""
        path = folder / self.name
        if self.kind == "cut":
            os.truncate(path, self.size)
        elif self.kind == "lost":
            path.unlink()
        elif self.kind == "elsewhere":
            other = folder.with_name("elsewhere.h5")
            shutil.move(path, other)
            path.symlink_to(other)
        elif self.is_in_place:
            path.write_bytes(self.content)
        else:
            other = folder / "new.h5"
            other.write_bytes(self.content)
            os.replace(other, path)

    def __str__(self):
        return f"{self.name} {self.how}{f' before read {self.before}' if self.before else ''}"


READS = (hdf5_file, "_opened"), (h5py.Dataset, "__getitem__"), (h5py.Dataset, "read_direct"), (os, "preadv")


@contextmanager
def before_each_read(call):
    """Call a function with the number of each read of a file, from 1, before it."""
    kept, count = [getattr(*each) for each in READS], 0

    def counted(function):
        def read(*words, **named):
            nonlocal count
            count += 1
            call(count)
            return function(*words, **named)

        return read

    for (holder, name), function in zip(READS, kept, strict=True):
        setattr(holder, name, counted(function))
    try:
        yield
    finally:
        for (holder, name), function in zip(READS, kept, strict=True):
            setattr(holder, name, function)


# ---- whole folders ----


class Whole:
    """A folder of whole files of a kind: their contents and the places to hit, by name, and what they give."""

    def __init__(self, kind, folder):
        self.layout, self.folder = LAYOUTS[kind](folder), folder
        paths = sorted(folder.iterdir())
        self.contents = {path.name: path.read_bytes() for path in paths}
        self.places = {path.name: places_of(self.contents[path.name], _samples(path)) for path in paths}
        self.restore()
        self.images, self.reads = {}, {}
        for way in WAYS if kind != "virtual" else WAYS.keys() - STREAMED:
            numbers = []
            with before_each_read(numbers.append):
                found, images = self.use(way)
            assert not images or is_right(images, read_by_h5py(found))
            self.images, self.reads[way] = self.images | images, len(numbers)

    def use(self, way):
        """Use the folder in a way."""
        files = [str(self.folder / name) for name in self.layout.data]
        return WAYS[way](files, self.layout.wanted, self.folder.with_name("out.h5"))

    def restore(self):
        """Write all files again, with an old time stamp."""
        for path in self.folder.iterdir():
            path.unlink()
        for name, content in self.contents.items():
            (self.folder / name).write_bytes(content)
            os.utime(self.folder / name, (LONG_AGO, LONG_AGO))

    def use_damaged(self, way, damage):
        """Return whether what a damaged folder gives is right; raise the UserError that refuses it."""

        def at(number):
            if number == damage.before:
                damage.do(self.folder)

        at(0)
        with before_each_read(at):
            found, images = self.use(way)
        if not images:
            return True
        return not damage.must_be_refused and is_right(
            images, read_by_h5py(found), self.images if damage.before else None
        )


def _samples(path):
    with suppress(*READ_ERRORS, AttributeError):
        return samples_of(path)
    return []  # of virtual and compact datasets


def try_way(whole, way, damage):
    """Use a damaged folder in a way, in a process of its own; return a word for what happened, and a text."""
    whole.restore()
    return harm.tried(lambda: whole.use_damaged(way, damage))


def main(words):
    """Print a table, and return 1 if any folder did harm."""
    parser, kinds = harm.parser(5000), list(LAYOUTS)
    parser.add_argument("--kind", choices=kinds, nargs="+", default=kinds, help="damage these folders only")
    options = parser.parse_args(words)
    rng, table = random.Random(options.seed), harm.Harm("folder", ("refused", "read"))
    with tempfile.TemporaryDirectory() as base:
        os.environ["XDG_CACHE_HOME"] = base
        harm.probe_in_forks()
        whole = {}
        for kind in options.kind:
            folder = Path(base, kind, "folder")
            folder.mkdir(parents=True)
            whole[kind] = Whole(kind, folder)
        for k in range(options.count):
            kind = rng.choice(options.kind)
            way = rng.choice(sorted(whole[kind].reads))
            damage = Damage(rng, whole[kind], way)
            word, text = try_way(whole[kind], way, damage)
            table.add(kind, word, f"{k} {way}: {damage}: {word} {text}")
    return table.report(f"{options.count} mutations")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
