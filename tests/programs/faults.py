"""Run the training command with faults planted: `python tests/programs/faults.py FAULTS [options of training]`.

FAULTS are joined by commas: "death", or with the place, the rank and the step at which it happens, as in
"death@allreduce:0:7,exception@step:2:9". Steps count from 0; a place within recovery or evaluation has no step: the
fault happens when the rank first gets there.
"""

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from distcnn import train
from distcnn.data.stream import units
from distcnn.data.stream.images import StreamedImages
from distcnn.job import prepare, work
from distcnn.network.net import Net
from distcnn.parallel import world
from distcnn.parallel.allreduce import GradientAllreduce
from distcnn.parallel.heartbeat import WAITING
from distcnn.parallel.ulfm import UlfmComm
from distcnn.parallel.world import run
from distcnn.resilience.recovery import Recovery
from distcnn.resilience.replica_check import Replicas
from distcnn.run import run_folder
from distcnn.run.checkpoint_writer import CheckpointWriter
from distcnn.run.metrics_log import Metrics
from distcnn.run.recorder import Recorder
from distcnn.training.trainer import Trainer

STEP = 5  # the step in which it happens, from 0
RANK = 1
NOW = {}  # "comm"; "trainer": the newest


def nan_weight():
    """One weight of one replica becomes NaN."""
    NOW["trainer"].net.parameters["3.weight"][2, 1, 0, 4] = np.nan


def nan_weights():
    """One weight becomes NaN, on all ranks."""
    nan_weight()


def huge_weights():
    """Finite, but the gradients before it leave the range of exact sums; on all ranks."""
    NOW["trainer"].net.parameters["11.weight"][...] *= np.float32(1e30)


def flipped_bit():
    """The lowest bit of one weight of one replica flips."""
    NOW["trainer"].net.weights.view(np.uint32)[1000] ^= 1


def exception():
    """An exception that nothing handles."""
    raise RuntimeError("planted")


def failing():
    """All ranks make the same mistake, after each has left the step before: no rank learns of it from another."""
    time.sleep(1)
    exception()


def poison():
    """One sample, whichever rank gets it, is more than the code can take."""
    load = NOW["trainer"].net.group.load

    def poisoned(blocks, *rest):
        if any(7 in block.index for block in blocks):
            raise RuntimeError("planted")
        load(blocks, *rest)

    NOW["trainer"].net.group.load = poisoned


def death():
    """The rank is killed."""
    os.kill(os.getpid(), signal.SIGKILL)


def soon():
    """The rank is killed within the next call."""
    threading.Timer(0.001, death).start()


def later():
    """The rank is killed while others wait for one that is busy."""
    threading.Timer(0.3, death).start()


def much_later():
    """The rank is killed when the others have waited for a while."""
    threading.Timer(0.6, death).start()


def busy():
    """The rank does something else for a while."""
    time.sleep(1)


def stop(number=signal.SIGUSR1):
    """The rank is asked to stop."""
    os.kill(os.getpid(), number)


def stop_again():
    """The rank is asked in the other way that schedulers know."""
    stop(signal.SIGUSR2)


def terminate():
    """The rank is asked to end."""
    stop(signal.SIGTERM)


def interrupt():
    """Somebody presses Ctrl-C."""
    stop(signal.SIGINT)


def slow():
    """Every step takes a while from here on, in which the other ranks of the node wait for this one."""
    beats = NOW["trainer"].heartbeat
    others = [place for place in range(len(beats.node.ranks)) if place != beats.node.place]
    while any(beats.read(place).phase != WAITING for place in others):
        time.sleep(0.01)
    time.sleep(0.2)


def log_step():
    """The first rank writes into a file how many steps are done."""
    if NOW["trainer"].comm.rank == 0:
        with open("steps_begun", "a") as file:
            file.write(f"{NOW['trainer'].steps}\n")


def spurious():
    """MPI fails, though nobody has died."""
    NOW["comm"].Revoke()


def spurious_always():
    """MPI fails so again and again."""
    spurious()


def hang():
    """The rank comes no further."""
    while True:
        time.sleep(0.01)


def freeze():
    """The whole process is stopped."""
    os.kill(os.getpid(), signal.SIGSTOP)


def freeze_once():
    """The whole process is stopped, but not that of a later job in the same folder."""
    with suppress(FileExistsError):
        Path(f"frozen-{NOW['trainer'].comm.rank}").touch(exist_ok=False)
        freeze()


def small_units():
    """Files are streamed in units of 1 KiB, on all ranks, so that a small file has many."""
    units.TARGET = 2**10


def truncate():
    """The file of the data is cut."""
    os.truncate(NOW["trainer"].config.data, 2**14)


EVERYWHERE = "small_units", "nan_weights", "huge_weights", "poison", "failing", "log_step"
ALWAYS = "slow", "log_step", "spurious_always"
STEPPED = "step", "block", "exchange", "allreduce", "repartition"  # places that belong to a step
PLACES = {  # before which function it happens, and, if not always, when
    "step": (Trainer, "step"),
    "block": (Net, "train_group"),
    "exchange": (Trainer, "_add_up"),
    "allreduce": (GradientAllreduce, "finish"),
    "evaluation": (Trainer, "evaluations"),
    "report": (Trainer, "report"),
    "record": (Metrics, "append"),
    "save": (CheckpointWriter, "_write"),
    "rename": (os, "replace", lambda source, target: str(target).endswith(".h5")),
    "compare": (Replicas, "compare"),
    "recovery": (Recovery, "_shrink_and_resume"),
    "shrink": (UlfmComm, "shrink"),
    "sync": (Replicas, "sync_to_latest"),
    "copy": (Replicas, "_copy_from"),
    "repartition": (Trainer, "repartition"),
    "agree": (Recovery, "_attempt_ended"),
    "prepare": (work, "prepare"),
    "data": (prepare, "load_data"),
    "create": (run_folder, "create"),
    "compile": (Trainer, "compile"),
    "read": (StreamedImages, "read_unit"),
    "finish": (Recorder, "finish"),
    "leave": (world, "_leave"),
}


def plant(words, comm):
    """Let a fault happen on its rank, or on the only one, before its place is reached in its step."""
    fault, _, rest = words.partition("@")
    place, rank, step = [*rest.split(":"), "", ""][:3]
    place = place or "step"
    owner, name, *when = PLACES[place]
    function, act, left = getattr(owner, name), globals()[fault], [1]
    here = fault in EVERYWHERE or comm.rank == min(int(rank or RANK), comm.size - 1)
    wanted = int(step) if step else STEP if place in STEPPED else None

    def faulty(*arguments, **keywords):
        steps = NOW["trainer"].steps if wanted is not None else None
        due = wanted == steps and left[0] and all(suits(*arguments) for suits in when)
        if here and (due or (fault in ALWAYS and (wanted is None or steps >= wanted))):
            left[0] = 0
            act()
        return function(*arguments, **keywords)

    setattr(owner, name, faulty)


def planted(comm):
    """Train with the faults that the command line names."""
    make = Trainer.__init__

    def made(trainer, *arguments):
        NOW["trainer"] = trainer
        make(trainer, *arguments)

    NOW["comm"], Trainer.__init__ = comm, made
    for words in sys.argv.pop(1).split(","):
        plant(words, comm)
    return train.main(comm)


if __name__ == "__main__":
    run(planted)
