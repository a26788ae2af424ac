"""Prove a run's bits: `python -m distcnn.verify RUN` trains its last steps again and compares, on any number of ranks.

    python -m distcnn.verify RUN [--data FILE.h5]    exit code 0: the same bits, 1: they differ, and where

It begins at the checkpoint before the newest, or with the run's initial weights if there is only one.
"""

import sys

from distcnn.config.versions import answer_version

if __name__ == "__main__":
    answer_version(sys.argv[1:])  # before the imports below, which need NumPy, Numba and MPI

from dataclasses import replace
from pathlib import Path

import numpy as np

from distcnn.config.parser import Parser
from distcnn.config.settings import NUMERICS
from distcnn.config.toml import from_toml
from distcnn.errors import CheckpointError, Diverged
from distcnn.parallel.collective import on_all, on_root
from distcnn.parallel.world import run as run_command
from distcnn.run import checkpoint
from distcnn.run.state import digest
from distcnn.training.trainer import Trainer, data_of


def parse(words):
    """Return the options of the command line."""
    parser = Parser(
        "python -m distcnn.verify", description="Train a run's last steps again and compare the bits."
    )
    parser.add_argument("run", metavar="RUN", help="the run's folder")
    parser.add_argument("--data", metavar="FILE.h5", help="where its dataset is now, if not where it was")
    return parser.parse_args(words)


def last_two(folder):
    """Return (path, State) of a run's last two good checkpoints; (None, None) stands for a first that is not there."""
    place = folder / "checkpoints" if (folder / "checkpoints").is_dir() else folder
    found = checkpoint.good(place, lambda text: print(f"distcnn: warning: {text}", file=sys.stderr))
    newest = next(found, None)
    if newest is None:
        raise CheckpointError(f"{folder}: no good checkpoint in this folder; wanted the folder of a run")
    if newest[1].numerics != NUMERICS:
        raise CheckpointError(
            f"{newest[0]}: numerics {newest[1].numerics}, but this is numerics {NUMERICS}, which gives other bits; "
            f"verify it with the version that wrote it"
        )
    return next(found, (None, None)), newest


def retrain(trainer, step):
    """Train up to a step."""
    for blocks in trainer.remaining():
        trainer.step(blocks)
        if trainer.epoch_done:
            trainer.next_epoch()
        if trainer.steps >= step:
            return


def differences(found, wanted):
    """Yield in words what differs between two states."""
    if wanted.digest != digest(wanted.result):
        yield "the digest that is saved is not that of the weights beside it"
    for kind, theirs in wanted.arrays.items():
        ours, end = found.arrays[kind], 0
        for name, shape in wanted.names_and_shapes:
            begin, end = end, end + int(np.prod(shape))
            unlike = np.count_nonzero(ours[begin:end].view(np.uint32) != theirs[begin:end].view(np.uint32))
            if unlike:
                yield f"{kind}/{name}: {unlike} of {end - begin} values"
    for key in ("step", "epoch", "epoch_sums"):
        if getattr(found, key) != getattr(wanted, key):
            yield f"{key} is {getattr(found, key)}, the run has {getattr(wanted, key)}"


def main(comm):
    """Verify on all ranks together; rank 0 tells the verdict."""
    options = on_root(comm, parse, sys.argv[1:])
    (source, first), (path, last) = on_root(comm, last_two, Path(options.run))
    config = on_root(comm, from_toml, last.config_toml, path)
    if options.data:
        config = replace(config, data=options.data)
    trainer = Trainer(config, data_of(config, comm), comm)
    on_all(comm, trainer.restore, last, path)  # of the same data and net, if this goes well
    trainer = Trainer(config, trainer.dataset, comm)
    if first:
        on_all(comm, trainer.restore, first, source)
    begin = trainer.steps
    trainer.compile()
    try:
        retrain(trainer, last.step)
        unlike = list(differences(trainer.state(), last))
    except Diverged as error:
        unlike = [str(error)]
    ranks = f"{comm.size} rank{'s' * (comm.size > 1)}"
    if comm.rank == 0 and unlike:
        more = f" and {len(unlike) - 3} more" if len(unlike) > 3 else ""
        print(
            f"DIFFERENT: steps {begin + 1} to {last.step} on {ranks} do not give {path}: {'; '.join(unlike[:3])}{more}"
        )
    elif comm.rank == 0:
        print(f"verified: steps {begin + 1} to {last.step} on {ranks} give the bits of {path}")
        print(f"weights_sha256 {trainer.digest}")
    return int(bool(unlike))


if __name__ == "__main__":
    run_command(main)
