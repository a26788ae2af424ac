"""On a full disk older checkpoints give way to the newest state: never the best, nor the last before another is whole.

The disks are small file systems in memory, which root may mount.
"""

import ctypes
import errno
import json
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from distcnn.errors import DiskFull, OutputError
from distcnn.run import checkpoint, checkpoint_room
from distcnn.run.checkpoint_writer import CheckpointWriter
from distcnn.run.hdf5_image import Image
from distcnn.run.metrics_log import Metrics
from tests.helpers import jobs
from tests.helpers.digests import digest, uninterrupted
from tests.helpers.states import state

DETACH = 2  # of umount2 in Linux
PAGE = os.sysconf("SC_PAGE_SIZE")
TRAIN = "python", "-m", "distcnn.train", "--progress", "none", "--out", "a"


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """Work on a new disk: call it with the number of checkpoints of `state` for which it has room."""
    libc, place = ctypes.CDLL(None, use_errno=True), tmp_path / "disk"
    place.mkdir()

    def mount(checkpoints=0, size=0):
        size = size or checkpoints * pages(state(1)) * PAGE
        options = f"size={size}".encode()
        if libc.mount(b"none", os.fsencode(place), b"tmpfs", 0, options):
            pytest.skip(f"no mount here: {os.strerror(ctypes.get_errno())}")
        monkeypatch.chdir(place)
        os.mkdir("checkpoints")

    yield mount
    os.chdir("/")
    libc.umount2(os.fsencode(place), DETACH)


def pages(one):
    """Return how many pages the checkpoint of a state takes."""
    return -(-(checkpoint.HEADER + len(Image().of(one))) // PAGE)


def save(writer, *steps, scores=None):
    """Save states one after the other, as if training had time in between; return the writer."""
    for step in steps:
        writer._write(state(step), (scores or {}).get(step), False)
    return writer


def steps():
    return [checkpoint.load(path).step for path in sorted(Path("checkpoints").glob("step-*.h5"))]


def fill():
    """Leave no room on the disk; return the file that takes it."""
    with open("ballast", "wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(PAGE)):
            continue
    return Path("ballast")


def lines(writer):
    return [writer.warnings.popleft() for _ in range(len(writer.warnings))]


@pytest.mark.parametrize("room", [2, 3, 4])
def test_the_oldest_give_way(disk, room):
    disk(room)
    writer = save(CheckpointWriter("checkpoints", 9), *range(1, 8))
    assert writer.close() is None
    assert steps() == [*range(8 - room, 8)]
    (line,) = lines(writer)
    assert line == (
        f"checkpoints: the disk is full: step-00000001.h5 has given way to {checkpoint.name(room + 1)}, "
        "as older ones will from now on"
    )


def test_several_may_have_to_give_way(disk):
    disk(3)
    writer = save(CheckpointWriter("checkpoints", 9), 1, 2, 3)
    Path("checkpoints/step-00000001.h5").write_bytes(b"")  # its end alone makes no room
    fill()
    save(writer, 9)
    assert "step-00000001.h5 and step-00000002.h5 have given way to step-00000009.h5" in lines(writer)[0]
    assert steps() == [3, 9]


@pytest.mark.parametrize("best", [1, 3])
def test_the_best_stays(disk, best):
    disk(3)
    scores = {step: (0.9 if step == best else 0.5, -1.0) for step in range(1, 8)}
    writer = save(CheckpointWriter("checkpoints", 9), *range(1, 8), scores=scores)
    assert writer.close() is None
    assert steps() == [best, 6, 7]
    assert checkpoint.load("checkpoints/best.h5").step == best


def test_a_better_one_takes_the_place_of_the_best_only_when_it_is_whole(disk, monkeypatch):
    disk(2)
    writer = save(CheckpointWriter("checkpoints", 1), 1, 2, scores={1: (0.5, 0.0), 2: (0.4, 0.0)})
    assert steps() == [1, 2]
    save(writer, 3, scores={3: (0.9, 0.0)})
    assert steps() == [
        1,
        2,
    ]  # there is no room for a third one, and the last one stays while training goes on
    assert "No space left" in lines(writer)[-1]
    assert writer.close() is None
    assert steps() == [3]
    assert checkpoint.load("checkpoints/best.h5").step == 3


def test_those_set_aside_give_way_first(disk):
    disk(3)
    writer = save(CheckpointWriter("checkpoints", 9), 1, 2, 3)
    checkpoint.set_aside("checkpoints", 2)
    save(writer, 4)
    assert steps() == [1, 2, 4]
    assert "step-00000003.h5.set-aside has given way" in lines(writer)[0]


def test_the_only_one_stays_until_the_end(disk):
    """Between its removal and the end of the writing a crash would lose the run."""
    disk(1)
    writer = save(CheckpointWriter("checkpoints", 3), 1, 2, 3)
    assert steps() == [1]
    assert ["training continues" in line for line in lines(writer)] == [True, True]
    assert writer.close() is None
    assert steps() == [3]
    assert "step-00000001.h5 has given way to step-00000003.h5" in lines(writer)[0]


def test_the_last_state_in_the_queue_is_known_to_be_the_last(disk):
    disk(1)
    writer = CheckpointWriter("checkpoints", 3)
    writer._write(state(1), None, False)
    writer._closing = True  # as `close` does, before the thread has seen the state
    writer.save(state(2))
    assert writer.close() is None
    assert steps() == [2]
    assert len(lines(writer)) == 1


def test_the_only_one_and_best_stays_for_ever(disk):
    disk(1)
    writer = save(CheckpointWriter("checkpoints", 3), 1, 2, scores={1: (0.9, 0.0), 2: (0.5, 0.0)})
    assert writer.close() == "the state after step 2 is lost, because it could not be saved"
    assert steps() == [1]


def test_a_state_that_is_too_large_costs_no_other(disk, monkeypatch):
    """The room of the removed one is not enough, or another program has taken it: it is written back."""
    disk(1)
    save(CheckpointWriter("checkpoints", 3), 1)
    before = Path("checkpoints/step-00000001.h5").read_bytes()

    def fail(path, state, image):
        raise DiskFull(f"{path}: cannot be written")

    monkeypatch.setattr(checkpoint, "save", fail)
    with pytest.raises(DiskFull, match="step-00000002"):
        checkpoint_room.save(Path("checkpoints/step-00000002.h5"), state(2), Image(), None, True)
    assert Path("checkpoints/step-00000001.h5").read_bytes() == before
    assert os.listdir("checkpoints") == ["step-00000001.h5"]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.EROFS, errno.EFBIG])
def test_other_errors_cost_no_checkpoint(tmp_path, monkeypatch, number):
    monkeypatch.chdir(tmp_path)
    writer = save(CheckpointWriter("checkpoints", 9), 1, 2, 3)
    monkeypatch.setattr(os, "fsync", lambda file: (_ for _ in ()).throw(OSError(number, os.strerror(number))))
    save(writer, 4)
    assert os.strerror(number) in lines(writer)[0]
    assert writer.close() is not None
    assert steps() == [1, 2, 3]


def test_over_quota_is_a_full_disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    writer = save(CheckpointWriter("checkpoints", 9), 1, 2, 3)
    fsync, left = os.fsync, [1]

    def over(file):
        if left:
            left.clear()
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        fsync(file)

    monkeypatch.setattr(os, "fsync", over)
    save(writer, 4)
    assert steps() == [2, 3, 4]


def dies_at(number):
    """Let this process die at a call of the functions that write or remove, the first one being 0."""
    calls = iter(range(100))

    def around(function):
        def dying(*arguments, **keywords):
            if next(calls) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            function(*arguments, **keywords)
            if next(calls) == number:
                os.kill(os.getpid(), signal.SIGKILL)

        return dying

    Path.unlink = around(Path.unlink)
    for name in ("fsync", "replace"):
        setattr(os, name, around(getattr(os, name)))


@pytest.mark.parametrize("room", [2, 3])
def test_killed_at_any_moment_a_good_one_is_left(disk, room):
    """With room for three, the best and the newest stay until the new one is whole; with room for two, the best."""
    disk(room)
    for number in range(100):
        for path in Path("checkpoints").iterdir():
            path.unlink()
        save(CheckpointWriter("checkpoints", room), *range(1, room + 1), scores={1: (0.5, 0.0)}).close()
        child = os.fork()
        if child == 0:
            try:
                dies_at(number)
                made = CheckpointWriter("checkpoints", room, ((0.5, 0.0), 1))
                made.save(state(9), (0.9, 0.0))
                made.close()
            finally:
                os._exit(0)
        code, found = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), steps()
        assert {1, 9} & set(found)
        assert room == 2 or {3, 9} & set(found)
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert 9 in found
    assert number > 8


def test_a_training_keeps_its_last_state_and_its_records(disk):
    """Three checkpoints of LeNet-5 have room, and are kept by default."""
    disk(size=1_640_000)
    os.rmdir("checkpoints")
    done = jobs.run(*TRAIN, "--checkpoint-every", 10, "--max-steps", 90)
    assert digest(done) == uninterrupted(90)
    assert done.stderr.count("has given way") == 1
    assert done.stderr.count("distcnn: ") == 1
    assert checkpoint.newest("a/checkpoints", pytest.fail)[1].step == 90
    assert [json.loads(line)["step"] for line in Path("a/metrics.jsonl").read_text().splitlines()][-1] == 90
    done = jobs.run(*TRAIN, "--resume", "auto", "--max-steps", 120)
    assert digest(done) == uninterrupted(120)


def test_records_are_written_when_there_is_room_again(disk):
    disk(2)
    metrics = Metrics("metrics.jsonl")
    metrics.append({"step": 1, "epoch": 1})
    ballast = fill()
    with pytest.raises(OutputError, match="free some disk space"):
        metrics.append({"step": 2, "epoch": 1, "name": "x" * PAGE})
    ballast.unlink()
    metrics.flush()
    assert [record["step"] for record in metrics.records()] == [1, 2]
