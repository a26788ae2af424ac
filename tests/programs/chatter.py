"""Show the progress of a training that does not take place, on any number of ranks, each of which warns now and then.

    mpirun -n 8 python tests/programs/chatter.py EPOCHS [PAUSE ...]

`expected` returns the lines of each rank. After each epoch that is a PAUSE, rank 0 waits for a file of that name.
"""

import os
import sys
import time
from pathlib import Path

from distcnn.run.progress_bar import epoch_line, progress
from distcnn.system.terminal_text import say, warn

STEPS = 3  # an epoch
DIGEST = "weights_sha256 " + "0123456789abcdef" * 4


def record(epoch):
    """Return the record of an epoch."""
    return {"epoch": epoch, "train_loss": 1 / epoch, "test_accuracy": None, "samples_per_second": 9.0}


def expected(rank, epochs):
    """Yield the lines of a rank in their order, each as (line, whether it is a warning)."""
    for epoch in range(1, epochs + 1):
        if rank == 0:
            yield epoch_line(record(epoch), epochs), False
        if epoch % 4 == rank % 4:
            yield f"distcnn: warning: rank {rank} warns in epoch {epoch}", True
    if rank == 0:
        yield DIGEST, False


def main():
    rank = int(os.environ.get("OMPI_COMM_WORLD_RANK", os.environ.get("PMI_RANK", 0)))
    epochs, *pauses = map(int, sys.argv[1:])
    show = progress("auto", epochs, STEPS * epochs) if rank == 0 else None
    for epoch in range(1, epochs + 1):
        for _ in range(STEPS if show else 0):
            show.step(epoch, 1 / epoch, 0.5, 1)
        if show:
            show.epoch(record(epoch))
            while epoch in pauses and not Path(str(epoch)).exists():
                time.sleep(0.01)
        if epoch % 4 == rank % 4:
            (show.warn if show else warn)(f"rank {rank} warns in epoch {epoch}")
    if show:
        show.close()
        say(DIGEST)


if __name__ == "__main__":
    main()
