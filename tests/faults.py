"""Run the training command with a fault planted on one rank: `python tests/faults.py FAULT [options of training]`."""

import os
import signal
import sys
import time

import numpy as np

from distcnn import train
from distcnn.parallel.world import run
from distcnn.training import Training

STEP = 5  # the step in which it happens, from 0
RANK = 1


def nan_weight(training):
    """One weight of one replica becomes NaN."""
    training.net.parameters["3.weight"][2, 1, 0, 4] = np.nan


def huge_weight(training):
    """Finite, but the gradients before it leave the range of exact sums."""
    training.net.parameters["11.weight"][...] *= np.float32(1e30)


def exception(training):
    """Something that nobody expects."""
    raise RuntimeError("planted")


def death(training):
    """The rank is killed."""
    os.kill(os.getpid(), signal.SIGKILL)


def stop(training):
    """The rank is asked to stop, twice, as schedulers signal mpirun and the ranks."""
    os.kill(os.getpid(), signal.SIGUSR1)
    os.kill(os.getpid(), signal.SIGUSR1)


def slow(training):
    """Every step takes a while from here on."""
    time.sleep(0.2)


FAULTS = {fault.__name__: fault for fault in (nan_weight, huge_weight, exception, death, stop, slow)}


def plant(fault):
    """Let it happen on rank RANK, or on the only rank, before step STEP."""
    step = Training.step

    def faulty(training, blocks, stop=False):
        here = training.comm.rank == min(RANK, training.comm.size - 1)
        if here and (training.steps == STEP or (fault is slow and training.steps > STEP)):
            fault(training)
        return step(training, blocks, stop)

    Training.step = faulty


if __name__ == "__main__":
    plant(FAULTS[sys.argv.pop(1)])
    run(train.main)
