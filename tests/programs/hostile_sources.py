"""Damage sources of `data import` at random and import them.

    python -m tests.programs.hostile_sources [COUNT] [--seed S] [--kind KIND]

Each source is read in a process of its own, which has limited memory and time. It must be refused in one line, or be
read. What runs in further processes, the sandbox of HDF5 and the decoding of images, runs in forks here, as Python
takes longer to start than a source to read; every 50th source is read as a user would.
"""

import gzip
import io
import os
import random
import signal
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import h5py
import numpy as np

from distcnn.data.importers import decoding, hdf5_arrays
from distcnn.data.importers.importer import Options
from distcnn.data.importers.sources import read_source
from distcnn.system.process_pool import Crashed
from tests.helpers.mat import mat, matrix, text
from tests.helpers.pictures import encoded
from tests.programs import harm
from tests.programs.damaged_files import MUTATIONS

RANDOM = np.random.default_rng(0)
IMAGES, LABELS = RANDOM.integers(0, 256, (12, 6, 5, 3), np.uint8), np.arange(12) % 3
GRAY = IMAGES[..., 0].copy()


# ---- whole sources: contents by names ----


def pictures():
    names = [f"{split}/{'abc'[k % 3]}/{k}" for split, n in (("train", 6), ("test", 3)) for k in range(n)]
    endings = ("png", "jpg", "gif", "tif", "bmp", "ppm")
    found = {}
    for k, name in enumerate(names):
        file = f"{name}.{endings[k % len(endings)]}"
        found[file] = encoded(IMAGES[k], file)
    return found


def table():
    rows = "".join(f"{k}.png,{'abc'[k % 3]},{('train', 'test')[k % 2]}\n" for k in range(6))
    return {f"images/{k}.png": encoded(IMAGES[k]) for k in range(6)} | {
        "labels.csv": f"id,label,split\n{rows}".encode()
    }


def saved(save, *arrays, **named):
    file = io.BytesIO()
    save(file, *arrays, **named)
    return file.getvalue()


def npz():
    return {"x.npz": saved(np.savez_compressed, x_train=GRAY, y_train=LABELS, x_test=GRAY, y_test=LABELS)}


def npy():
    return {"images.npy": saved(np.save, IMAGES), "labels.npy": saved(np.save, LABELS)}


def matlab():
    names = text("classes", ["a", "bb", "c"])
    arrays = [
        matrix("X", GRAY, packed=True),
        matrix("y", LABELS.astype("f8"), packed=True),
        matrix("z", GRAY),
    ]
    return {"x.mat": mat(*arrays, names)}


def hdf5(encode=False, block=0):
    file = io.BytesIO()
    with h5py.File(file, "w", userblock_size=block) as whole:
        if encode:
            images = whole.create_dataset("images", (12,), h5py.vlen_dtype("uint8"))
            for k in range(12):
                images[k] = np.frombuffer(encoded(IMAGES[k]), np.uint8)
        else:
            whole.create_dataset("images", data=IMAGES, chunks=(5, 6, 5, 3), compression="gzip", shuffle=True)
        whole["labels"], whole["classes"] = LABELS, [b"a", b"b", b"c"]
    return {"x.h5": file.getvalue()}


def matlab73():
    file = io.BytesIO()
    with h5py.File(file, "w", userblock_size=512) as whole:
        whole["X"], whole["y"] = IMAGES.transpose(1, 2, 3, 0).T, LABELS[None].astype("f8")
    return {"x.mat": file.getvalue()}


def idx():
    def file(array, code=8):
        sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
        return bytes([0, 0, code, array.ndim]) + sizes + array.tobytes()

    labels = np.repeat(LABELS[:, None], 8, axis=1).astype(">i4")
    return {
        "qmnist-train-images-idx3-ubyte": file(GRAY),
        "qmnist-train-labels-idx2-int.gz": gzip.compress(file(labels, 12)),
    }


def cifar():
    rows = b"".join(bytes([k % 3]) + RANDOM.bytes(3072) for k in range(3))
    return {"batches.meta.txt": b"a\nb\nc\n", "data_batch_1.bin": rows, "test_batch.bin": rows}


def stl():
    return {"train_X.bin": RANDOM.bytes(3 * 96 * 96 * 2), "train_y.bin": b"\1\2", "class_names.txt": b"a b c"}


KINDS = {
    "pictures": pictures,
    "table": table,
    "npz": npz,
    "npy": npy,
    "mat": matlab,
    "mat73": matlab73,
    "hdf5": hdf5,
    "encoded": lambda: hdf5(encode=True),
    "idx": idx,
    "cifar": cifar,
    "stl": stl,
}
PICTURES = ("pictures", "table")
PACKINGS = ("folder", "folder", "zip", "tar", "tar.gz", "tar.xz")


def pack(contents, packing, path):
    """Write contents as a folder or as an archive, and return its path."""
    if packing == "folder":
        for name, content in contents.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
    elif packing == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in contents.items():
                file.writestr(name, content)
    else:
        with tarfile.open(path, f"w:{packing[4:]}") as file:
            for name, content in contents.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                file.addfile(member, io.BytesIO(content))
    return path


def damaged(rng, contents, packing, folder):
    """Write a source, one of whose files is damaged, or the archive itself; return its path and how it was done."""
    path = folder / f"source.{packing}"
    if packing == "folder" or rng.random() < 0.5:
        name = rng.choice(sorted(contents))
        content, how = hit(rng, contents[name])
        return pack(contents | {name: content}, packing, path), f"{name}: {how}"
    pack(contents, packing, path)
    content, how = hit(rng, path.read_bytes())
    path.write_bytes(content)
    return path, how


def hit(rng, content):
    """Return a damaged copy, and how it was done; the beginning, where headers are, is hit more often."""
    content, done = bytearray(content), []
    for _ in range(rng.choice((1, 1, 1, 3))):
        place = (
            rng.randrange(len(content) if rng.random() < 0.4 else min(len(content), 600)) if content else 0
        )
        mutation = rng.choice(MUTATIONS)
        if content:
            mutation(rng, content, place)
            done.append(f"{mutation.__name__} at {place}")
    return bytes(content), ", ".join(done)


# ---- readers ----


def forked(function, batches, count):
    """Do what `in_processes` does in forks: one a batch, or one an item if that crashes."""
    for batch in batches:
        answers = _answers(function, batch)
        if answers is None:
            answers = [(_answers(function, [item]) or [Crashed("SIGSEGV")])[0] for item in batch]
        yield from zip(batch, answers, strict=True)


def _answers(function, batch):
    import pickle

    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump([function(item) for item in batch], pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        content = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return None if code else pickle.loads(content)


def tried(path, options, as_user):
    """Import a source in a process of its own; return a word for what happened, and a text."""

    def use():
        if not as_user:
            harm.probe_in_forks()
            decoding.in_processes = hdf5_arrays.in_processes = forked
        read_source(path, options)
        return True

    return harm.tried(use)


def main(words):
    """Print a table, at the end or at SIGTERM, and return 1 if any source did harm."""
    parser = harm.parser(10_000)
    parser.add_argument("--kind", choices=KINDS, help="damage sources of this kind only")
    options = parser.parse_args(words)
    rng, table = random.Random(options.seed), harm.Harm("source", ("refused", "read"))
    whole = {kind: make() for kind, make in KINDS.items()}
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    done = 0
    while done < options.count and not stopped:
        kind = options.kind or rng.choice(list(KINDS))
        with tempfile.TemporaryDirectory() as folder:
            path, how = damaged(rng, whole[kind], rng.choice(PACKINGS), Path(folder))
            chosen = Options(skip_damaged=kind in PICTURES and rng.random() < 0.5)
            word, said = tried(path, chosen, done % 50 == 0)
        table.add(kind, word, f"{done} {path.name} {how}: {word} {said[:300]}")
        done += 1
    return table.report(f"{done} mutations")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
