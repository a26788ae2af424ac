"""Whole files of every kind that distcnn reads from strangers, for `damaged_files`, and what uses them."""

import io
import shutil
import sys
import tarfile
import zipfile

import h5py
import numpy as np
from PIL import Image

from distcnn import evaluate, predict, train
from distcnn.config.parser import parse
from distcnn.data.dataset import load
from distcnn.data.fingerprint import seal
from distcnn.errors import DistcnnError, UserError
from distcnn.layers import Dense, Flatten
from distcnn.models import MODELS
from distcnn.models.base import Model
from distcnn.parallel.serial import SerialComm
from distcnn.run import checkpoint
from distcnn.run.curves import Curves
from distcnn.training.trainer import Trainer
from tests.helpers.states import state


def dataset(path, dtype=np.uint8, classes=True, libver=None, **storage):
    """Write a small dataset that bears a seal."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w", libver=libver) as file:
        for split, n in (("train", 60), ("test", 20)):
            images = rng.integers(0, 256, (n, 1, 6, 5)).astype(dtype)
            file.create_dataset(f"{split}/images", data=images, **storage)
            file[f"{split}/labels"] = rng.integers(0, 3, n)
        if classes:
            file.attrs["classes"] = ["one", "two", "three"]
    data = load(path, SerialComm())
    with h5py.File(path, "r+", libver=libver) as file:
        file["train"].attrs["seal"] = seal(data.fingerprint, data.classes if classes else None)


def saved(path):
    """Write a small checkpoint."""
    checkpoint.save(path, state())


def pictures():
    """Return the files of a folder of pictures by class, by name."""
    rng, found = np.random.default_rng(0), {}
    for split, n in ("train", 3), ("test", 1):
        for name in "cat", "dog":
            for k in range(n):
                file = io.BytesIO()
                Image.fromarray(rng.integers(0, 256, (6, 5), np.uint8)).save(file, "PNG")
                found[f"pets/{split}/{name}/{k}.png"] = file.getvalue()
    return found


def cifar():
    """Return the files of CIFAR-10's binary version, by name."""
    rng, folder = np.random.default_rng(0), "cifar-10-batches-bin"
    records = {name: rng.bytes(3072) for name in ("data_batch_1", "test_batch")}
    found = {f"{folder}/{name}.bin": b"\x03" + record for name, record in records.items()}
    return found | {f"{folder}/batches.meta.txt": b"\n".join(b"class%d" % k for k in range(10))}


def tar(path, files, mode="w"):
    """Write an archive of files, by name."""
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def zipped(path):
    """Write a .zip of pictures."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in pictures().items():
            archive.writestr(name, content)


def used(path):
    """Write a checkpoint of a net of one layer, and use it, so that all kernels are loaded."""
    MODELS["one"] = Model(lambda input_shape, classes: [Flatten(), Dense(classes)], (1, 6, 5))
    Curves.draw = lambda self: None  # in a process of its own, which takes longer than all else
    dataset(path.with_name("used.h5"))
    words = f"--model one --data {path.with_name('used.h5')} --batch-size 16 --ema-decay 0.9".split()
    trainer = Trainer(parse(words, "").config, load(words[3], SerialComm()), SerialComm())
    trainer.compile()
    checkpoint.save(path, trainer.state())
    use(path)


def use(path):
    """Give a checkpoint to all commands that take one; raise the UserError of the last one that refuses it."""
    refused, out = None, path.with_name("out")
    for verb, words in (
        (evaluate, [path]),
        (predict, [path, "--out", f"{out}.h5", "--force"]),
        (
            train,
            ["--resume", path, "--out", out, "--max-time", 0.05, "--progress", "none", "--hang-timeout", 0],
        ),
    ):
        sys.argv = ["", *map(str, words)]
        try:
            verb.main(SerialComm())
        except DistcnnError as error:
            refused = error
            if "\n" in str(error):
                break
    shutil.rmtree(out, ignore_errors=True)
    if isinstance(refused, UserError):
        raise refused


PACKED = {"chunks": (16, 1, 6, 5), "compression": "gzip", "shuffle": True}
KINDS = {
    "plain": dataset,
    "packed": lambda path: dataset(path, **PACKED),
    "floats": lambda path: dataset(path, np.float32, classes=False, chunks=(7, 1, 6, 5), fletcher32=True),
    "lzf": lambda path: dataset(path, chunks=(16, 1, 3, 5), compression="lzf"),
    "latest": lambda path: dataset(path, libver="latest", **PACKED),
    "resizable": lambda path: dataset(path, maxshape=(None, 1, 6, 5), **PACKED),
    "checkpoint": saved,
    "signed": saved,
    "used": used,
    "tar": lambda path: tar(path, pictures()),
    "tar.xz": lambda path: tar(path, pictures(), "w:xz"),
    "tar.gz": lambda path: tar(path, pictures(), "w:gz"),
    "cifar": lambda path: tar(path, cifar()),
    "zip": zipped,
}
