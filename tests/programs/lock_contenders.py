"""Get a folder's lock once, against others, and die with it: `python tests/programs/lock_contenders.py FOLDER SEED`.

Between any two steps of the protocol this process may be delayed or killed. One that gets the lock makes a file that
nobody else may have made meanwhile, and leaves a line in a log. It is killed with the lock, which the others then
have to find dead. The exit code is 1 if two processes had the lock at once.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from distcnn.errors import FolderInUse
from distcnn.run import lock_file
from distcnn.run.run_lock import NAME, RunLock, job_token
from distcnn.system.processes import this_process

DEATHS = 0.01  # of a process, before or after a step of the protocol
DELAY = 0.01  # seconds, at most


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def disturbed(function, chance):
    """Return a function that takes its time, and at which a process may die."""

    def disturbance():
        time.sleep(chance.uniform(0, DELAY))
        if chance.random() < DEATHS:
            die()

    def call(*arguments, **keywords):
        disturbance()
        try:
            return function(*arguments, **keywords)
        finally:
            disturbance()

    return call


def main(folder, seed):
    chance = random.Random(seed)
    for name in ("create", "read"):
        setattr(lock_file, name, disturbed(getattr(lock_file, name), chance))
    lock_file.os.replace = disturbed(os.replace, chance)
    lock = RunLock(job_token(), [this_process()])
    inside = Path(folder, "inside")
    print("ready", flush=True)
    while not Path(folder, "go").exists():
        time.sleep(0.001)
    while True:
        try:
            lock.hold(folder)
            break
        except FolderInUse:
            time.sleep(0.001)
    try:
        os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        sys.exit(1)
    time.sleep(3 * DELAY)
    found = lock.token in Path(folder, NAME).read_text()
    inside.unlink()
    with open(Path(folder, "log"), "a") as log:
        log.write(f"{os.getpid()}\n")
    if not found:
        sys.exit(1)
    if chance.random() < 0.2:
        lock.release()
    die()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
