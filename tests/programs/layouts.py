"""Folders of HDF5 files in the layouts that users bring, for `in_place`."""

import zlib
from typing import NamedTuple

import h5py
import numpy as np

from distcnn.data.wanted import Wanted

N = 40
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (N, 6, 5), np.uint8)
LABELS = np.arange(N) % 3


class Layout(NamedTuple):
    """What a user types.

    data: the names of the files.
    wanted: what the options say of their arrays.
    """

    data: tuple[str, ...] = ("a.h5",)
    wanted: Wanted = Wanted()


def single(images=IMAGES, labels=LABELS, libver=None, **storage):
    """Return a function that writes one file of training images, and of test images that are stored likewise."""

    def write(folder):
        with h5py.File(folder / "a.h5", "w", libver=libver) as file:
            file.create_dataset("train/images", data=images, **storage)
            file["train/labels"] = labels
            file.create_dataset("test/images", data=images, **storage)
            file["test/labels"] = labels
        return Layout()

    return write


def bands(folder):
    """Write images of another type, byte order and axes, under other names, with labels of text."""
    images = RANDOM.integers(0, 4000, (N, 6, 5, 3)).astype(">u2")
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("train_set_x", data=images, chunks=(7, 4, 5, 2), compression="gzip", shuffle=True)
        file["train_set_y"] = [b"field", b"wood", b"sea", b"wood"] * (N // 4)
    return Layout(wanted=Wanted(layout="NHWC"))


def masked(folder):
    """Write chunks of which each lacks other filters."""
    images = RANDOM.integers(0, 2**15, (N, 6, 5)).astype("<u2")
    with h5py.File(folder / "a.h5", "w") as file:
        made = file.create_dataset(
            "x", images.shape, "<u2", chunks=(4, 6, 5), shuffle=True, compression="gzip"
        )
        for k in range(0, N, 4):
            mask, stored = k // 4 % 4, images[k : k + 4].tobytes()
            stored = stored if mask & 1 else np.frombuffer(stored, "u1").reshape(-1, 2).T.tobytes()
            made.id.write_direct_chunk((k, 0, 0), stored if mask & 2 else zlib.compress(stored), mask)
        file["y"] = LABELS
    return Layout()


def compact(folder):
    """Write images into the header of their dataset."""
    kind = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    kind.set_layout(h5py.h5d.COMPACT)
    with h5py.File(folder / "a.h5", "w", userblock_size=512) as file:
        space = h5py.h5s.create_simple(IMAGES.shape)
        h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_UINT8, space, kind).write(
            h5py.h5s.ALL, h5py.h5s.ALL, IMAGES
        )
        file["y"] = LABELS[:, None].astype("f8")
    return Layout()


def several(folder):
    """Write parts that are concatenated, each stored in another way."""
    for name, rows, storage in (
        ("part-1.h5", np.s_[:16], {}),
        ("part-2.h5", np.s_[16:30], {"chunks": (3, 6, 5), "compression": "gzip"}),
        ("part-10.h5", np.s_[30:], {"chunks": (4, 3, 5), "shuffle": True}),
    ):
        with h5py.File(folder / name, "w") as file:
            file.create_dataset("images", data=IMAGES[rows].astype(">f4"), **storage)
            file["labels"] = LABELS[rows]
    return Layout(("part-1.h5", "part-2.h5", "part-10.h5"))


def apart(folder):
    """Write images and labels, and the test split, into different files."""
    for name, path, array in (
        ("train_x.h5", "images", IMAGES),
        ("train_y.h5", "labels", LABELS),
        ("test.h5", "images", IMAGES[:8]),
    ):
        with h5py.File(folder / name, "w") as file:
            file[path] = array
            if name == "test.h5":
                file["labels"] = LABELS[:8]
    return Layout(("train_x.h5", "train_y.h5", "test.h5"))


def linked(folder):
    """Write links to arrays in another file, of which one leads through a third."""
    with h5py.File(folder / "b.h5", "w") as file:
        file.create_dataset("x", data=IMAGES, chunks=(8, 6, 5), compression="gzip")
    with h5py.File(folder / "c.h5", "w") as file:
        file["far"], file["there"] = LABELS, h5py.ExternalLink("b.h5", "/x")
    with h5py.File(folder / "a.h5", "w") as file:
        file["images"], file["labels"] = (
            h5py.ExternalLink("c.h5", "/there"),
            h5py.ExternalLink("c.h5", "/far"),
        )
    return Layout()


def virtual(folder):
    """Write a virtual dataset: of blocks of rows in two files, one of which is virtual itself, and of rows in turn."""
    for name, storage in ("b.h5", {}), ("c.h5", {"chunks": (4, 6, 5), "compression": "gzip"}):
        with h5py.File(folder / name, "w") as file:
            file.create_dataset("x", data=IMAGES[: N // 4], **storage)
    inner = h5py.VirtualLayout((N // 2, 6, 5), "u1")
    inner[0::2] = h5py.VirtualSource("b.h5", "x", (N // 4, 6, 5))
    inner[1::2] = h5py.VirtualSource("c.h5", "x", (N // 4, 6, 5))
    outer = h5py.VirtualLayout(IMAGES.shape, "u1")
    outer[: N // 2] = h5py.VirtualSource("d.h5", "inner", (N // 2, 6, 5))
    outer[N // 2 :] = h5py.VirtualSource(".", "rest", (N // 2, 6, 5))
    with h5py.File(folder / "d.h5", "w", libver="latest") as file:
        file.create_virtual_dataset("inner", inner)
    with h5py.File(folder / "a.h5", "w") as file:
        file["rest"], file["labels"] = IMAGES[N // 2 :], LABELS
        file.create_virtual_dataset("images", outer)
    return Layout()


def fuel(folder):
    """Write a file whose attribute says the rows of each split, and whose labels are an enumeration."""
    rows = [("train", b"x", 0, 30), ("train", b"y", 0, 30), ("test", b"x", 30, N), ("test", b"y", 30, N)]
    kind = [("split", "S5"), ("source", "S8"), ("start", "i8"), ("stop", "i8"), ("available", "?")]
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("x", data=IMAGES, chunks=(5, 6, 5), compression="lzf")
        names = h5py.enum_dtype({"cat": 0, "dog": 1, "cow": 2}, "u1")
        file.create_dataset("y", data=LABELS, dtype=names)
        file.attrs["split"] = np.array([(*row, True) for row in rows], kind)
    return Layout()


def plugged(folder):
    """Write images with a filter of hdf5plugin."""
    import hdf5plugin

    return single(IMAGES.astype("<i4"), chunks=(8, 6, 5), **hdf5plugin.Blosc(cname="zstd"))(folder)


def bitshuffled(folder):
    """Write images with another filter of hdf5plugin."""
    import hdf5plugin

    return single(IMAGES.astype("<u2"), chunks=(8, 6, 5), **hdf5plugin.Bitshuffle())(folder)


LAYOUTS = {
    "contiguous": single(IMAGES.astype(">f8")),
    "bytes": single(),
    "edges": single(IMAGES.astype(">f4"), chunks=(7, 4, 2), shuffle=True),
    "tree": single(chunks=(1, 3, 5), compression="gzip"),
    "lzf": single(chunks=(N, 6, 5), compression="lzf"),
    "checked": single(IMAGES.astype("<i8"), chunks=(9, 6, 4), compression="gzip", fletcher32=True),
    "scaled": single(chunks=(9, 6, 4), scaleoffset=8),
    "fixed": single(libver="latest", chunks=(4, 3, 5), compression="gzip"),
    "extensible": single(libver="latest", chunks=(4, 6, 5), compression="gzip", maxshape=(None, 6, 5)),
    "tree 2": single(libver="latest", chunks=(4, 3, 5), shuffle=True, maxshape=(None, None, 5)),
    "one chunk": single(libver="latest", chunks=IMAGES.shape, compression="gzip"),
    "plugged": plugged,
    "bitshuffled": bitshuffled,
    "bands": bands,
    "masked": masked,
    "compact": compact,
    "several": several,
    "apart": apart,
    "linked": linked,
    "virtual": virtual,
    "fuel": fuel,
}
