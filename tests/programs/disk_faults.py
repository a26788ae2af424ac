"""Run the training command while the disk fails: `python tests/programs/disk_faults.py FAULT [options of training]`.

Every checkpoint is written before training goes on, so that the disk's speed does not decide which steps have one.
"""

import ctypes
import os
import resource
import sys
import threading
from pathlib import Path

from distcnn import train
from distcnn.parallel.world import run
from distcnn.run.checkpoint_writer import CheckpointWriter
from distcnn.training.trainer import Trainer

FIRST, LAST = 31, 61  # the fault begins before the first of these steps and ends before the last
FOLDER = Path("a")


def full(begin):
    """Files cannot grow beyond some bytes: a write beyond fails as on a full disk."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000 if begin else hard, hard))


def vanished(begin):
    """The run's folder is renamed, and a file has its name for a while."""
    if begin:
        FOLDER.rename("gone")
        FOLDER.write_text("")
    else:
        FOLDER.unlink()


def closed(begin):
    """No new files can be made in the folder of checkpoints, and no record can be added to the metrics."""
    for name in ("checkpoints", "metrics.jsonl"):
        if begin:
            (FOLDER / name).rename(f"{name}.aside")
            (FOLDER / name).symlink_to("/proc/nothing")
        else:
            (FOLDER / name).unlink()
            os.rename(f"{name}.aside", FOLDER / name)


def read_only(begin):
    """Nothing can be made, renamed or removed in the run's folder, nor in its checkpoints."""
    for folder in (FOLDER, FOLDER / "checkpoints"):
        folder.chmod(0o500 if begin else 0o700)
    (FOLDER / "metrics.jsonl").chmod(0o400 if begin else 0o600)


def none(begin):
    """Nothing fails."""


def obey_permissions():
    """Drop CAP_DAC_OVERRIDE, which lets root write in spite of permissions; threads that start later lack it, too."""
    if sys.platform == "linux" and os.geteuid() == 0:
        header, sets = (ctypes.c_uint32 * 2)(VERSION_3, 0), (ctypes.c_uint32 * 6)()
        libc = ctypes.CDLL(None, use_errno=True)
        libc.capget(header, sets)  # effective, permitted and inheritable ones, then the upper 32 of each
        sets[0] &= ~(1 << DAC_OVERRIDE)
        if libc.capset(header, sets):
            raise OSError(ctypes.get_errno(), "capset")


VERSION_3, DAC_OVERRIDE = 0x20080522, 1  # of linux/capability.h


def settle():
    """Make training wait for the thread that writes checkpoints."""
    save, write, written = CheckpointWriter.save, CheckpointWriter._write, threading.Event()

    def saving(writer, *state):
        written.clear()
        save(writer, *state)
        written.wait()

    def writing(writer, *state):
        write(writer, *state)
        written.set()

    CheckpointWriter.save, CheckpointWriter._write = saving, writing


def plant(fault):
    """Make a fault begin and end on rank 0."""
    step = Trainer.step

    def faulty(trainer, blocks, stop=False):
        if trainer.comm.rank == 0 and trainer.steps + 1 in (FIRST, LAST):
            fault(trainer.steps + 1 == FIRST)
        return step(trainer, blocks, stop)

    Trainer.step = faulty


if __name__ == "__main__":
    obey_permissions()
    settle()
    plant({fault.__name__: fault for fault in (full, vanished, closed, read_only, none)}[sys.argv.pop(1)])
    run(train.main)
