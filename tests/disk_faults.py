"""Run the training command while the disk fails: `python tests/disk_faults.py FAULT [options of training]`."""

import os
import resource
import sys
import time
from pathlib import Path

from distcnn import train
from distcnn.parallel.world import run
from distcnn.training import Training

FIRST, LAST = 31, 61  # before these steps it begins and ends
FOLDER = Path("a")


def full(begin):
    """Files cannot grow beyond some bytes: a write beyond fails as on a full disk."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000 if begin else hard, hard))


def vanished(begin):
    """The run's folder goes away; something else takes its place for a while."""
    if begin:
        FOLDER.rename("gone")
        FOLDER.write_text("")
    else:
        FOLDER.unlink()


def closed(begin):
    """No new files can be made where checkpoints lie, nor can records be added."""
    for name in ("checkpoints", "metrics.jsonl"):
        if begin:
            (FOLDER / name).rename(f"{name}.aside")
            (FOLDER / name).symlink_to("/proc/nothing")
        else:
            (FOLDER / name).unlink()
            os.rename(f"{name}.aside", FOLDER / name)


def plant(fault):
    """Let it happen on rank 0."""
    step = Training.step

    def faulty(training, blocks, stop=False):
        if training.comm.rank == 0 and training.steps + 1 in (FIRST, LAST):
            time.sleep(0.5)  # what is being written is done
            fault(training.steps + 1 == FIRST)
        return step(training, blocks, stop)

    Training.step = faulty


if __name__ == "__main__":
    plant({fault.__name__: fault for fault in (full, vanished, closed)}[sys.argv.pop(1)])
    run(train.main)
