"""A checkpoint that a stranger has made and signed can do no more than be refused."""

import sys

import h5py
import numpy as np
import pytest

from distcnn.errors import CheckpointError
from distcnn.run import checkpoint, checkpoint_sandbox
from distcnn.run.hdf5_image import pack, unpack
from tests.helpers.states import state

PARAMETERS = "parameters/3.weight"  # float32 [2, 4]


def signed(image):
    return checkpoint._header(image) + image


def external(file, folder):
    (folder / "secret").write_bytes(b"0123456789abcdef" * 8)
    del file[PARAMETERS]
    file.create_dataset(PARAMETERS, (2, 4), "<f4", external=[(str(folder / "secret"), 0, 32)])


def external_classes(file, folder):
    (folder / "secret").write_text("root:x:0:0\n")
    del file["classes"]
    file.create_dataset("classes", (3,), "S3", external=[(str(folder / "secret"), 0, 9)])


def virtual(file, folder):
    with h5py.File(folder / "other.h5", "w") as other:
        other["x"] = np.ones((2, 4), "<f4")
    layout = h5py.VirtualLayout((2, 4), "<f4")
    layout[:] = h5py.VirtualSource(folder / "other.h5", "x", (2, 4))
    del file[PARAMETERS]
    file.create_virtual_dataset(PARAMETERS, layout)


def external_link(file, folder):
    with h5py.File(folder / "other.h5", "w") as other:
        other["x"] = np.ones((2, 4), "<f4")
    del file[PARAMETERS]
    file[PARAMETERS] = h5py.ExternalLink(str(folder / "other.h5"), "x")


def external_group(file, folder):
    with h5py.File(folder / "other.h5", "w") as other:
        file.copy("means", other)
    file["more"] = h5py.ExternalLink(str(folder / "other.h5"), "means")


def soft_link(file, folder):
    del file[PARAMETERS]
    file[PARAMETERS] = h5py.SoftLink("/means/3.weight")


def external_step(file, folder):
    with h5py.File(folder / "other.h5", "w") as other:
        other["step"] = np.int64(3)
    del file["step"]
    file["step"] = h5py.ExternalLink(str(folder / "other.h5"), "step")


def replaced(key=PARAMETERS, shape=(2, 4), dtype="<f4", **storage):
    def change(file, folder):
        del file[key]
        data = None if shape and max(shape) > 10**6 else np.zeros(shape, dtype)
        file.create_dataset(key, shape, dtype, data=data, **storage)

    return change


def many_names_of_one_text(file, folder):
    """Entries that all point to one long text: 2 MB ask for 64 GiB."""
    del file["classes"]
    file.create_dataset("classes", data=["x" * 2**20] + [""] * 2**16, dtype=h5py.string_dtype())
    file.flush()
    place = file["classes"].id.get_offset()
    file.close()
    path = folder / "x.h5"
    image = bytearray(path.read_bytes())
    image[place : place + 16 * 2**16] = image[place : place + 16] * 2**16
    path.write_bytes(image)


def many_links_to_one_array(file, folder):
    """Parameters that all are one array: 0.5 MB ask for 500 MB."""
    for group in ("parameters", "averages", "means"):
        array = file.create_dataset(f"{group}/13.weight", data=np.zeros(2**15, "<f4"))
        for number in range(14, 400):
            file[f"{group}/{number}.weight"] = array


CHANGES = {
    "external storage": external,
    "external storage of classes": external_classes,
    "virtual storage": virtual,
    "external link": external_link,
    "external link to a group": external_group,
    "external link to a number": external_step,
    "soft link": soft_link,
    "chunks": replaced(chunks=(1, 4)),
    "Fletcher's checksum": replaced(chunks=(1, 4), fletcher32=True),
    "compression": replaced(compression="gzip"),
    "chunks of the mean": replaced("mean", (2,), chunks=(1,)),
    "chunks of a text": replaced("digest", (1,), "S64", chunks=(1,)),
    "classes in chunks": replaced("classes", (3,), "S3", chunks=(1,)),
    "huge classes": replaced("classes", (2**40,), "S9"),
    "huge shape": replaced(PARAMETERS, (2**31, 2**28)),
    "huge mean": replaced("mean", (2**40,)),
    "numbers for classes": replaced("classes", (3,), "<i8"),
    "no list of classes": replaced("classes", (), "S9"),
    "many names of one text": many_names_of_one_text,
    "many links to one array": many_links_to_one_array,
    "a loop of groups": lambda file, folder: file["parameters"].__setitem__("loop", file["parameters"]),
}


@pytest.mark.parametrize("sandboxed", [True, False])
@pytest.mark.parametrize("name", CHANGES)
def test_what_does_not_lie_plainly_in_the_file_is_refused(tmp_path, monkeypatch, name, sandboxed):
    path = tmp_path / "x.h5"
    path.write_bytes(pack(state()))
    with h5py.File(path, "r+") as file:
        CHANGES[name](file, tmp_path)
    image = path.read_bytes()
    path.write_bytes(signed(image))
    if not sandboxed:
        monkeypatch.setattr(checkpoint_sandbox, "check_in_sandbox", lambda path, image: None)
    with pytest.raises(CheckpointError, match="not the state of a run") as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value)
    assert "Segm" not in str(caught.value)


LIMITS = "takes more than 20 s or 1 GiB of memory beyond its size, the limits"


@pytest.mark.skipif(sys.platform != "linux", reason="limits are Linux's")
@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os; os.kill(os.getpid(), 11)", "not the state of a run: it crashes HDF5 (SIGSEGV)"),
        ("p.hdf5_image.unpack = lambda image: bytearray(2**40); sys.exit(p.probe())", LIMITS),
        ("import os; os.kill(os.getpid(), 24)", LIMITS),
        ("sys.exit('no')", "the process that was to check it has failed: no"),
    ],
)
def test_a_checkpoint_that_the_sandbox_does_not_survive_is_refused(tmp_path, monkeypatch, code, words):
    checkpoint.save(tmp_path / "x.h5", state(step=2**40 + len(code)))
    head = "import sys; sys.path[:] = sys.argv[1:]; import distcnn.run.checkpoint_sandbox as p, distcnn.run.hdf5_image;"
    monkeypatch.setattr(checkpoint_sandbox, "PROBE", f"{head} p.hdf5_image = distcnn.run.hdf5_image; {code}")
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(tmp_path / "x.h5")
    assert words in str(caught.value)
    assert "damaged" not in str(caught.value)


def test_a_content_is_probed_once(tmp_path, monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    probes = []
    monkeypatch.setattr(checkpoint_sandbox, "run_probe", lambda image: probes.append(image) or (0, ""))
    for step in (1, 2, 1):
        monkeypatch.setattr(checkpoint_sandbox, "_checked", set())  # as in another process
        checkpoint.save(tmp_path / "x.h5", state(step=step))
        checkpoint.load(tmp_path / "x.h5")
    assert [unpack(image).step for image in probes] == [1, 2]
