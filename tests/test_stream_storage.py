"""Rows that are read without HDF5 are those that HDF5 reads, whatever the storage."""

import os
import sys
import zlib
from contextlib import nullcontext
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distcnn.data.stream import chunks, storage
from distcnn.data.stream.storage import ChunkedStorage, ContiguousStorage, LibraryStorage, open_storage
from distcnn.errors import DataError
from tests.helpers.properties import examples

ROWS = 30
FILTERS = {
    "none": {},
    "gzip": {"compression": "gzip"},
    "shuffle": {"shuffle": True},
    "shuffle and gzip": {"shuffle": True, "compression": "gzip"},
    "fletcher32": {"fletcher32": True},
    "gzip and fletcher32": {"compression": "gzip", "fletcher32": True},
    "lzf": {"compression": "lzf"},
    "scale-offset": {"scaleoffset": 8},
}
DIRECT = "none", "gzip", "shuffle", "shuffle and gzip"
CHUNKS = (7, 2, 5, 5), (4, 1, 3, 2), (ROWS, 2, 5, 7), (1, 2, 5, 7)

DTYPES = "u1", "<f4", ">f4", "<u2", ">i8"
CASES = [
    (name, chunk, dtype)
    for name in FILTERS
    for chunk in CHUNKS
    for dtype in (DTYPES if name != "scale-offset" else DTYPES[:1])  # which changes others
]


@pytest.fixture(autouse=True)
def _no_sandbox(monkeypatch):
    """The check of each file takes 0.2 s, and is not what is tested here."""
    monkeypatch.setattr("distcnn.data.hdf5_file.check_in_sandbox", lambda path, *names: None)


def array(dtype="u1"):
    return np.random.default_rng(0).integers(0, 100, (ROWS, 2, 5, 7)).astype(dtype)


def opened(path, data, **options):
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=data, **options)
    return open_storage(path, "images")


def require_equal(found, data, path):
    """Compare ranges of rows with what h5py reads."""
    with h5py.File(path, locking=False) as file:
        for start, stop in ((0, ROWS), (3, 9), (6, 8), (ROWS - 1, ROWS), (0, 1)):
            out = np.empty((stop - start, *data.shape[1:]), data.dtype)
            found.advise(start, stop)
            found.read(start, stop, out)
            np.testing.assert_array_equal(out, file["images"][start:stop])


@pytest.mark.parametrize(("name", "chunk", "dtype"), CASES)
def test_chunks_with_filters(tmp_path, name, chunk, dtype):
    data = array(dtype)
    found = opened(tmp_path / "a.h5", data, chunks=chunk, **FILTERS[name])
    assert isinstance(found, ChunkedStorage if name in DIRECT else LibraryStorage)
    require_equal(found, data, tmp_path / "a.h5")
    assert found.chunk_rows == chunk[0]


@pytest.mark.parametrize("dtype", ["u1", "<f4", ">f4"])
def test_contiguous_data(tmp_path, dtype):
    found = opened(tmp_path / "a.h5", array(dtype))
    assert isinstance(found, ContiguousStorage)
    require_equal(found, array(dtype), tmp_path / "a.h5")
    assert (found.chunk_rows, found.row_bytes) == (1, array(dtype)[0].nbytes)


def test_a_user_block_moves_all_offsets(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w", userblock_size=512) as file:
        file["images"] = array()
    found = open_storage(tmp_path / "a.h5", "images")
    require_equal(found, array(), tmp_path / "a.h5")


def test_compact_data_lie_in_the_header(tmp_path):
    kind = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    kind.set_layout(h5py.h5d.COMPACT)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        space = h5py.h5s.create_simple(array().shape)
        made = h5py.h5d.create(file.id, b"images", h5py.h5t.NATIVE_UINT8, space, kind)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, array())
    require_equal(open_storage(tmp_path / "a.h5", "images"), array(), tmp_path / "a.h5")


def test_numbers_of_twelve_bits_are_converted_by_hdf5(tmp_path):
    kind = h5py.h5t.STD_U16LE.copy()
    kind.set_precision(12)
    kind.set_offset(2)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        space = h5py.h5s.create_simple(array().shape)
        made = h5py.h5d.create(file.id, b"images", kind, space)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, array("<u2"))
    found = open_storage(tmp_path / "a.h5", "images")
    assert isinstance(found, LibraryStorage)
    require_equal(found, array("<u2"), tmp_path / "a.h5")


@examples(40)
@given(st.integers(1, 9), st.tuples(st.integers(1, 3), st.integers(1, 7)), st.data())
def test_filters_that_were_left_out_for_a_chunk(tmp_path_factory, rows, extent, data):
    """Each chunk has a mask of the filters that it lacks; here they are drawn."""
    path = tmp_path_factory.mktemp("a") / "a.h5"
    chunk = (rows, *extent)
    values = np.random.default_rng(rows).integers(0, 2**16, (13, 3, 7)).astype("<u2")
    with h5py.File(path, "w") as file:
        made = file.create_dataset(
            "images", values.shape, "<u2", chunks=chunk, shuffle=True, compression="gzip"
        )
        for cell in np.ndindex(*(-(-n // c) for n, c in zip(values.shape, chunk, strict=True))):
            first = tuple(i * c for i, c in zip(cell, chunk, strict=True))
            whole = np.zeros(chunk, "<u2")
            part = values[tuple(slice(a, a + c) for a, c in zip(first, chunk, strict=True))]
            whole[tuple(map(slice, part.shape))] = part
            mask = data.draw(st.integers(0, 3))
            stored = whole.tobytes()
            if not mask & 1:
                stored = whole.view("u1").reshape(-1, 2).T.tobytes()
            if not mask & 2:
                stored = zlib.compress(stored)
            made.id.write_direct_chunk(first, stored, mask)
    with h5py.File(path, locking=False) as file:
        places = chunks.places(file["images"], os.path.getsize(path))
        found = ChunkedStorage(path, file["images"], places)
    out = np.empty(values.shape, "<u2")
    found.read(0, 13, out)
    np.testing.assert_array_equal(out, values)
    found.close()


def test_chunks_at_the_edge_that_hdf5_leaves_unfiltered(tmp_path, monkeypatch):
    """h5py cannot write such files, so the direct way is made to disagree with HDF5."""
    right = chunks.decoded
    monkeypatch.setattr(chunks, "decoded", lambda *arguments: bytes(right(*arguments))[::-1])
    found = opened(tmp_path / "a.h5", array(), chunks=CHUNKS[0], shuffle=True)
    assert isinstance(found, LibraryStorage)
    require_equal(found, array(), tmp_path / "a.h5")


def test_without_deflate_the_same_bytes(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "deflate", None)
    monkeypatch.setattr(chunks, "_inflate", chunks._inflater())
    assert chunks._inflate is chunks._inflate_by_zlib
    found = opened(tmp_path / "a.h5", array(), chunks=CHUNKS[0], compression="gzip")
    require_equal(found, array(), tmp_path / "a.h5")


@pytest.mark.parametrize("inflate", [chunks._inflate, chunks._inflate_by_zlib])
def test_a_chunk_that_unpacks_to_too_much_is_damaged(monkeypatch, inflate):
    monkeypatch.setattr(chunks, "_inflate", inflate)
    bomb = zlib.compress(bytes(2**24))
    with pytest.raises(ValueError, match="chunk"):
        chunks.decoded(bomb, [(chunks.DEFLATE, 4)], 0, 1000)
    whole = zlib.compress(bytes(1000))
    assert chunks.decoded(whole, [(chunks.DEFLATE, 4)], 0, 1000) == bytes(1000)
    for damaged in (zlib.compress(bytes(900)), b"", b"no zlib", bomb[:-9], whole[:-2]):
        with pytest.raises(ValueError, match="chunk"):
            chunks.decoded(damaged, [(chunks.DEFLATE, 4)], 0, 1000)


def test_deflate_is_used_where_it_is_installed():
    pytest.importorskip("deflate")
    assert chunks._inflate is not chunks._inflate_by_zlib


def test_a_truncated_file(tmp_path):
    found = opened(tmp_path / "a.h5", array())
    os.truncate(tmp_path / "a.h5", os.path.getsize(tmp_path / "a.h5") - 500)
    with pytest.raises(DataError, match="was changed or truncated while it was in use: restore it"):
        found.read(0, ROWS, np.empty_like(array()))


def test_a_file_that_was_written_to(tmp_path):
    found = opened(tmp_path / "a.h5", array(), chunks=CHUNKS[0], compression="gzip")
    with open(tmp_path / "a.h5", "r+b") as file:
        file.write(file.read(1))
    os.utime(tmp_path / "a.h5", (1, 1))
    with pytest.raises(DataError, match="was changed or truncated while it was in use"):
        found.read(0, 1, np.empty_like(array()[:1]))


def test_a_file_that_was_replaced_is_still_the_one_that_was_opened(tmp_path):
    found = opened(tmp_path / "a.h5", array())
    (tmp_path / "b.h5").write_bytes(b"other")
    os.replace(tmp_path / "b.h5", tmp_path / "a.h5")
    out = np.empty_like(array())
    found.read(0, ROWS, out)
    np.testing.assert_array_equal(out, array())


def test_a_failing_disk(tmp_path, monkeypatch):
    found = opened(tmp_path / "a.h5", array())

    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(storage.os, "preadv", fail)
    with pytest.raises(DataError, match=r"damaged, or its disk fails: copy it again .*Input/output error"):
        found.read(0, 1, np.empty_like(array()[:1]))


def test_short_reads_are_continued(tmp_path, monkeypatch):
    found = opened(tmp_path / "a.h5", array())
    whole = os.preadv
    monkeypatch.setattr(storage.os, "preadv", lambda fd, buffers, at: whole(fd, [buffers[0][:100]], at))
    out = np.empty_like(array())
    found.read(0, ROWS, out)
    np.testing.assert_array_equal(out, array())


def test_a_file_that_ends_before_a_chunk(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = file.create_dataset("images", data=array(), chunks=CHUNKS[0])
        with pytest.raises(DataError, match="is damaged, or was not written completely"):
            chunks.places(made, 2000)


@pytest.mark.parametrize("change", ["none", "beyond", "nowhere", "huge", "twice"])
def test_a_damaged_list_of_chunks(tmp_path, change):
    """What HDF5 lists of a damaged file is not trusted."""
    changes = {
        "none": {},
        "beyond": {"chunk_offset": (2**23, 0, 0, 0)},
        "nowhere": {"byte_offset": 2**64 - 1},
        "huge": {"size": 2**31},
        "twice": {"chunk_offset": (7, 0, 0, 0)},
    }
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = file.create_dataset("images", data=array(), chunks=CHUNKS[0])
        known = []
        made.id.chunk_iter(lambda chunk: known.append(chunk._asdict()))
        known[0] |= changes[change]
        listed = SimpleNamespace(chunk_iter=lambda call: [call(SimpleNamespace(**each)) for each in known])
        about = {
            "shape": made.shape,
            "chunks": made.chunks,
            "dtype": made.dtype,
            "file": file,
            "name": "/images",
        }
        with nullcontext() if change == "none" else pytest.raises(DataError, match="is damaged, or was not"):
            chunks.places(SimpleNamespace(id=listed, **about), 10**6)
