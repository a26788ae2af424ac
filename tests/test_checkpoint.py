"""Checkpoints: what is saved is read back whole; any other file is refused in one line."""

import errno
import os
import resource

import h5py
import numpy as np
import pytest

from distcnn.errors import CheckpointError, OutputError
from distcnn.run import checkpoint
from distcnn.run.hdf5_image import pack
from distcnn.run.state import digest, require_parameters
from distcnn.system import atomic_files
from tests.helpers.states import SHAPES, SIZE, described, state


def complaint(function, *args, kind=CheckpointError):
    """Return the one line with which the call is refused."""
    with pytest.raises(kind) as caught:
        function(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "step-00000007.h5"
    checkpoint.save(path, state())
    return path


def test_what_is_saved_comes_back(saved):
    assert described(checkpoint.load(saved)) == described(state())


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch_sums": (-5, 0, 0)},
        {"classes": ()},
        {"classes": tuple(str(index) for index in range(9000))},
        {
            "names_and_shapes": [],
            "parameters": np.empty(0, "f4"),
            "auxiliary_state": {"velocities": np.empty(0, "f4")},
        },
    ],
)
def test_unusual_states_come_back(tmp_path, changes):
    checkpoint.save(tmp_path / "x.h5", state(**changes))
    assert described(checkpoint.load(tmp_path / "x.h5")) == described(state(**changes))


def test_not_a_number_comes_back_bit_for_bit(tmp_path):
    odd = np.full(SIZE, 0x7FC12345, np.uint32).view(np.float32)
    checkpoint.save(tmp_path / "x.h5", state(auxiliary_state={"velocities": odd}))
    assert checkpoint.load(tmp_path / "x.h5").auxiliary_state["velocities"].tobytes() == odd.tobytes()


def test_equal_states_give_equal_files(saved, tmp_path):
    checkpoint.save(tmp_path / "again.h5", state())
    assert (tmp_path / "again.h5").read_bytes() == saved.read_bytes()


def test_any_hdf5_tool_shows_arrays_under_plain_names(saved):
    with h5py.File(saved) as file:
        assert list(file["parameters"]) == [name for name, _ in SHAPES]  # 10.weight comes after 9.weight
        assert file["parameters/1.weight"][()].tolist() == [[2.0, 3.0], [4.0, 5.0]]
        assert file["means/12.bias"].shape == (3,)
        assert file["step"][()] == 7


def test_a_checkpoint_of_format_1_is_read(saved):
    """There, all that is neither an array nor the classes is an attribute."""
    saved.write_bytes(saved.read_bytes()[checkpoint.HEADER :])
    with h5py.File(saved, "r+") as file:
        for key in ("epoch", "step", "digest", "epoch_loss", "epoch_correct", "epoch_samples"):
            file.attrs[key] = file.pop(key)[()]
    image = saved.read_bytes()
    saved.write_bytes(checkpoint._header(image, 1) + image)
    assert described(checkpoint.load(saved)) == described(state())


def test_buffers_that_do_not_fit_their_shapes_are_not_saved(tmp_path):
    with pytest.raises(ValueError, match="velocities"):
        checkpoint.save(
            tmp_path / "x.h5", state(auxiliary_state={"velocities": np.zeros(SIZE + 1, np.float32)})
        )
    assert os.listdir(tmp_path) == []


def test_a_flipped_bit_anywhere_is_noticed(saved):
    whole = saved.read_bytes()
    for position in [*range(checkpoint.HEADER), *range(checkpoint.HEADER, len(whole), 41), len(whole) - 1]:
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        saved.write_bytes(damaged)
        complaint(checkpoint.load, saved)


def test_a_file_cut_off_anywhere_is_noticed(saved):
    whole = saved.read_bytes()
    for length in [*range(checkpoint.HEADER + 2), *range(checkpoint.HEADER, len(whole), 97), len(whole) - 1]:
        saved.write_bytes(whole[:length])
        complaint(checkpoint.load, saved)


def test_a_file_with_more_behind_it_is_noticed(saved):
    saved.write_bytes(saved.read_bytes() + b"\0")
    assert "bytes" in complaint(checkpoint.load, saved)


def signed(image):
    return checkpoint._header(image) + image


def length_of(number):
    return b"distcnn checkpoint 2\nsha256 %b\nlength %d\n" % (b"0" * 64, number)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a checkpoint"),
        (b"\x89HDF\r\n\x1a\n" + bytes(2000), "not a checkpoint"),
        (b"distcnn checkpoint 2\n", "damaged at its beginning"),
        (b"distcnn checkpoint 3" + signed(b"later")[20:], "format 3"),
        (length_of(10**18 - 1).ljust(512, b"\0"), "wanted 1,000,000,000,000,000,511"),
        (length_of(10**30).ljust(512, b"\0"), "damaged at its beginning"),
        (signed(b""), "not the state of a run"),
        (signed(b"not HDF5"), "not the state of a run"),
        (signed(b"\x89HDF\r\n\x1a\n" + bytes(2000)), "not the state of a run"),
    ],
)
def test_another_content_is_refused(tmp_path, content, words):
    (tmp_path / "step-00000001.h5").write_bytes(content)
    assert words in complaint(checkpoint.load, tmp_path / "step-00000001.h5")


@pytest.mark.parametrize(
    ("path", "words"), [("missing.h5", "No such file"), (".", "not a file"), ("/dev/zero", "not a file")]
)
def test_what_is_no_file_is_refused(tmp_path, path, words):
    assert words in complaint(checkpoint.load, tmp_path / path)


def huge(file):
    del file["mean"]
    file.create_dataset("mean", shape=(2, 10**9), dtype="<f4")


def huge_chunks(file):
    del file["parameters/3.weight"]
    file.create_dataset("parameters/3.weight", shape=(10**12,), dtype="<f4", chunks=(2,))


def replaced(key, value):
    def change(file):
        del file[key]
        file[key] = value

    return change


def huge_text(file):
    del file["digest"]
    file.create_dataset("digest", shape=(10**12,), dtype="S64", chunks=(2,))


def doubles(file):
    del file["std"]
    file["std"] = np.ones(2)


@pytest.mark.parametrize(
    "change",
    [
        huge,
        huge_chunks,
        doubles,
        lambda file: file.__delitem__("step"),
        huge_text,
        replaced("step", -1),
        replaced("step", 1.5),
        replaced("step", [1, 2]),
        replaced("epoch_loss", b"many"),
        lambda file: file.create_group("seed"),
        lambda file: file.attrs.__setitem__("config_toml", 5),
        lambda file: file.attrs.__setitem__("input_shape", [28, 28]),
        lambda file: file.attrs.__setitem__("input_shape", [3, 28, 28]),
        lambda file: file.__delitem__("means/3.weight"),
        lambda file: file.__delitem__("parameters"),
        lambda file: file.create_group("parameters/more"),
    ],
)
def test_a_signed_file_with_other_contents_is_refused(tmp_path, change):
    path = tmp_path / "x.h5"
    path.write_bytes(pack(state()))
    with h5py.File(path, "r+") as file:
        change(file)
    path.write_bytes(signed(path.read_bytes()))
    assert "not the state of a run" in complaint(checkpoint.load, path)


def test_a_disk_that_is_full_keeps_the_old_file_and_leaves_no_other(saved, tmp_path):
    before, (soft, hard) = saved.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # a write beyond this fails as on a full disk
    try:
        line = complaint(checkpoint.save, saved, state(step=8), kind=OutputError)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(saved) in line
    assert saved.read_bytes() == before
    assert os.listdir(tmp_path) == [saved.name]


def test_a_failing_flush_to_disk_is_an_error(tmp_path, monkeypatch):
    def fsync(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(atomic_files.os, "fsync", fsync)
    assert "Input/output error" in complaint(checkpoint.save, tmp_path / "x.h5", state(), kind=OutputError)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("folder", ["missing", "file", "/proc"])
def test_a_folder_that_takes_no_files_is_an_error(tmp_path, folder):
    (tmp_path / "file").write_text("")
    assert "x.h5" in complaint(checkpoint.save, tmp_path / folder / "x.h5", state(), kind=OutputError)


def test_a_broken_off_save_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic_files.os, "fsync", lambda descriptor: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path / "x.h5", state())
    assert os.listdir(tmp_path) == []


def fill(folder, *steps):
    for step in steps:
        checkpoint.save(folder / checkpoint.name(step), state(step))


def test_the_newest_good_checkpoint_is_found_by_its_step(tmp_path):
    fill(tmp_path, 9, 10, 123456789, 100000000)
    path, found = checkpoint.newest(tmp_path, pytest.fail)
    assert (path.name, found.step) == ("step-123456789.h5", 123456789)


def test_damaged_checkpoints_are_skipped_with_a_warning(tmp_path):
    fill(tmp_path, 1, 2)
    (tmp_path / checkpoint.name(3)).write_bytes(b"")
    (tmp_path / checkpoint.name(4)).mkdir()
    warnings = []
    path, found = checkpoint.newest(tmp_path, warnings.append)
    assert (path.name, found.step) == (checkpoint.name(2), 2)
    for step, line in zip((4, 3), warnings, strict=True):
        assert checkpoint.name(step) in line


@pytest.mark.parametrize("folder", [".", "missing"])
def test_without_checkpoints_there_is_no_newest(tmp_path, folder):
    (tmp_path / "best.h5").write_bytes(b"")
    (tmp_path / ".step-00000001.h5.1.tmp").write_bytes(b"")
    assert checkpoint.newest(tmp_path / folder, pytest.fail) is None


def test_pruning_keeps_the_newest_and_what_is_not_ours(tmp_path):
    fill(tmp_path, 1, 2, 3)
    for name in ("best.h5", ".step-00000003.h5.77.tmp", "step-x.h5"):
        (tmp_path / name).write_bytes(b"")
    checkpoint.prune(tmp_path, 2)
    assert sorted(os.listdir(tmp_path)) == ["best.h5", "step-00000002.h5", "step-00000003.h5", "step-x.h5"]


def test_later_checkpoints_are_set_aside(tmp_path):
    fill(tmp_path, 1, 2, 3)
    checkpoint.set_aside(tmp_path, 2)
    assert checkpoint.newest(tmp_path, pytest.fail)[1].step == 2
    assert (tmp_path / "step-00000003.h5.set-aside").exists()


def test_of_those_set_aside_the_newest_are_kept(tmp_path):
    fill(tmp_path, 1, 2, 3, 4, 5)
    checkpoint.set_aside(tmp_path, 2)
    checkpoint.prune(tmp_path, 2)
    assert sorted(os.listdir(tmp_path)) == [
        "step-00000001.h5",
        "step-00000002.h5",
        "step-00000004.h5.set-aside",
        "step-00000005.h5.set-aside",
    ]


def test_the_digest_is_over_little_endian_float32():
    swapped = np.array([1.0, 2.0], ">f4")
    assert digest(swapped[:1], swapped[1:]) == digest(np.array([1.0, 2.0], "<f4"))
    assert digest(np.array([1.0], "f4")) == (  # printf '\x00\x00\x80\x3f' | sha256sum
        "e00e5eb9444182f352323374ef4e08ebcb784725fdd4fd612d7730540b3e0c8c"
    )


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (SHAPES[:-1], ["12.bias (3,)", "nothing"]),
        ([*SHAPES, ("13.weight", (1,))], ["nothing", "13.weight (1,)"]),
        ([("0.weight", (2, 2)), *SHAPES[1:]], ["0.weight (2, 1)", "0.weight (2, 2)"]),
        ([SHAPES[1], SHAPES[0], *SHAPES[2:]], ["0.weight", "1.weight"]),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(model, words):
    line = complaint(require_parameters, state(), model, "x.h5")
    assert [word for word in ["x.h5", *words] if word not in line] == []


def test_a_checkpoint_of_this_model_is_accepted():
    require_parameters(state(), [(name, list(shape)) for name, shape in SHAPES], "x.h5")
