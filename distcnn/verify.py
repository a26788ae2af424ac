"""Verify a run, or this installation: train again, on any number of ranks, and compare the bits.

    python -m distcnn.verify RUN [--data FILE.h5]
    python -m distcnn.verify --self

The exit code is 0 if the bits are the same, and 1 if they differ. A run's training starts from the last checkpoint but
one, or from the initial weights if the run has only one checkpoint. All kernels are compiled anew, because damaged
machine code in the cache would give the same wrong bits twice. --self trains small networks instead, by the kernels in
the cache, and compares their bits with those that these numerics promise (training/promise).
"""

from __future__ import annotations

import sys

from distcnn.config.startup import begin

if __name__ == "__main__":
    begin(sys.argv[1:])  # before the imports below, which need NumPy, Numba and MPI

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from distcnn.config.parser import Parser
from distcnn.data.data_options import add_data_options
from distcnn.data.settings import with_absolute_paths, with_named
from distcnn.data.wanted import Wanted
from distcnn.errors import CheckpointError, ConfigError, Diverged, StepDiverged
from distcnn.lanes.cpu import instructions
from distcnn.models.networks import code_sources
from distcnn.numerics import NUMERICS
from distcnn.parallel.collective import on_all, on_root
from distcnn.parallel.comm import Comm
from distcnn.parallel.compile_once import without_user_cache
from distcnn.parallel.world import run as run_command
from distcnn.resilience.diagnose import diagnose, explained
from distcnn.run import checkpoint
from distcnn.run.state import State, digest
from distcnn.system.counts import counted
from distcnn.system.terminal_text import say, warn
from distcnn.training import initial_weights, promise
from distcnn.training.load import settings_of
from distcnn.training.saved_network import network_in, require_same_network
from distcnn.training.setup import find_network, load_data
from distcnn.training.trainer import Trainer

Saved = tuple[Path, State]


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the options of the command line."""
    text = "Train a run's last steps again, or small networks, and compare the bits."
    usage = "%(prog)s RUN [--data FILE ...] | --self"
    parser = Parser("python -m distcnn.verify", description=text, usage=usage)
    parser.add_argument("run", metavar="RUN", nargs="?", help="the run's folder")
    moved = "the files of the dataset, if they were moved since the training"
    parser.add_argument("--data", metavar="FILE", nargs="+", help=moved)
    add_data_options(parser)
    parser.add_argument("--layers", metavar="FILE.py|MODULE", help="your code that defines layers of the net")
    about = "verify this installation: train small networks, and compare with what its version promises"
    parser.add_argument("--self", action="store_true", dest="own", help=about)
    options = parser.parse_args(argv)
    if options.own and (options.run or options.data):
        raise ConfigError("--self verifies no run: leave out RUN and --data, or leave out --self")
    if not (options.own or options.run):
        raise ConfigError(f"a run's folder, or --self, is required; see {parser.prog} --help")
    return options


def last_two(folder: Path) -> tuple[Saved | tuple[None, None], Saved]:
    """Return (path, State) of the last good checkpoint but one and of the last one in a run's folder.

    If there is only one good checkpoint, the first pair is (None, None).
    """
    checkpoints = folder / "checkpoints" if (folder / "checkpoints").is_dir() else folder
    found = checkpoint.good(checkpoints, warn)
    newest = next(found, None)
    if newest is None:
        raise CheckpointError(f"{folder}: no good checkpoint here; wanted the folder of a run")
    if newest[1].numerics != NUMERICS:
        raise CheckpointError(
            f"{newest[0]}: numerics {newest[1].numerics}, but this is numerics {NUMERICS}, which gives other bits; "
            f"verify it with the version that wrote it"
        )
    return next(found, (None, None)), newest


def retrain(trainer: Trainer, step: int) -> None:
    """Train up to a step; raise Diverged, which names layer and samples, if a step diverges."""
    for blocks in trainer.remaining():
        try:
            trainer.step(blocks)
        except StepDiverged as error:
            raise explained(trainer.comm, error.step, trainer.recompute(blocks, diagnose)) from None
        if trainer.epoch_done:
            trainer.next_epoch()
        if trainer.steps >= step:
            return


def require_same_beginning(trainer: Trainer, last: State) -> None:
    """Raise CheckpointError if the file with the initial weights of a run has changed; last: its last state."""
    if trainer.replica.initial_weights != last.initial_weights:
        found = f"{trainer.config.init_from} has changed since the training, which began with its weights"
        raise CheckpointError(f"{found}: bring that version back")


def differences(found: State, wanted: State) -> Iterator[str]:
    """Yield a message for each array and field that differs between two states.

    found: after the steps were trained again.
    wanted: from the checkpoint.
    """
    if wanted.digest != digest(wanted.result):
        yield "the saved digest is not that of the saved weights"
    for kind, theirs in wanted.arrays.items():
        ours, end = found.arrays[kind], 0
        for name, shape in wanted.names_and_shapes:
            begin, end = end, end + int(np.prod(shape))
            different = np.count_nonzero(ours[begin:end].view(np.uint32) != theirs[begin:end].view(np.uint32))
            if different:
                yield f"{kind}/{name}: {different} of {counted(end - begin, 'value')}"
    for key in ("step", "epoch", "epoch_sums"):
        if getattr(found, key) != getattr(wanted, key):
            yield f"{key} is {getattr(found, key)}, the run has {getattr(wanted, key)}"


def main(comm: Comm) -> int:
    """Verify on all ranks together; rank 0 prints the result. Return the exit code."""
    options = on_root(comm, parse, sys.argv[1:])
    if options.own:
        return verify_promise(comm)
    with without_user_cache(comm):
        return verify(comm, options)


def verify_promise(comm: Comm) -> int:
    """Verify the promise of these numerics; print a digest for each network, and one over all of them."""
    found = {}
    for name, value in promise.digests(comm):
        found[name] = value
        if comm.rank == 0:
            print(f"{name:<12} {value}", flush=True)
    summary, promised = promise.summary(found), promise.PROMISED[NUMERICS]
    if comm.rank == 0:
        print(f"{'all':<12} {summary}")
        judged = _judgment(found, promised)
        say(f"numerics {NUMERICS}, {counted(comm.size, 'rank')}, {instructions()}: {judged}")
    return int(found != promised)


def _judgment(found: dict[str, str], promised: dict[str, str]) -> str:
    """Return what the digests of all networks mean."""
    if found == promised:
        return "the bits are those that this version promises"
    differ = ", ".join(name for name in found if found[name] != promised.get(name))
    return (
        f"DIFFERENT: this version promises {promise.summary(promised)}, and other bits of {differ}; "
        f"please report it with what distcnn --show-versions prints"
    )


def verify(comm: Comm, options: argparse.Namespace) -> int:
    """Verify a run by the kernels that are in the cache or compiled."""
    (source, first), (path, last) = on_root(comm, last_two, Path(options.run))
    named = Wanted.of(options)
    config = with_named(on_root(comm, settings_of, last, path, options.data, named), named)
    config = on_root(comm, with_absolute_paths, config)
    config = replace(config, patience=None)  # the steps to repeat are known
    dataset = load_data(config, comm)
    text = on_root(comm, network_in, last, path)
    network = find_network(config, dataset, comm, code_sources(None, options.layers), (text, str(path)))
    on_all(comm, require_same_network, last, text, network)
    trainer = Trainer(config, dataset, comm, network)
    on_all(comm, trainer.restore, last, path)  # raises if the data or the net are not those of the run
    trainer = Trainer(config, dataset, comm, network)
    if first:
        on_all(comm, trainer.restore, first, source)
    else:
        initial_weights.begin(trainer)
        on_all(comm, require_same_beginning, trainer, last)
    begin = trainer.steps
    trainer.compile()
    try:
        retrain(trainer, last.step)
        different = list(differences(trainer.state(), last))
    except Diverged as error:
        different = [str(error)]
    steps = f"steps {begin + 1} to {last.step} on {counted(comm.size, 'rank')}"
    if comm.rank == 0 and different:
        more = f" and {len(different) - 3} more" if len(different) > 3 else ""
        say(f"DIFFERENT: {steps} do not reproduce {path}: {'; '.join(different[:3])}{more}")
    elif comm.rank == 0:
        say(f"verified: {steps} reproduce the bits of {path}")
        print(f"weights_sha256 {trainer.digest}")
    return int(bool(different))


if __name__ == "__main__":
    run_command(main)
