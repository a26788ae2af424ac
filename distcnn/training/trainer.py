"""The training step, which all ranks compute together; all state that it updates lies in the replica."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TypeVar

import numpy as np

from distcnn.config.settings import Config
from distcnn.config.types import GLOBAL
from distcnn.data.dataset import Dataset
from distcnn.errors import StepDiverged
from distcnn.kernels import float_mode
from distcnn.kernels.float_mode import each_in_ieee_mode, in_ieee_mode
from distcnn.kernels.pointwise import pack
from distcnn.kernels.weighted_loss import weighted_cross_entropy
from distcnn.models.base import Network
from distcnn.models.networks import code_sources
from distcnn.network.losses import LOSSES
from distcnn.network.plan import Block
from distcnn.numerics.fixed_point import Counters
from distcnn.parallel.allreduce import GradientAllreduce
from distcnn.parallel.collective import mark_collective, on_all, on_root
from distcnn.parallel.comm import Comm
from distcnn.parallel.compile_once import compile_in_turns
from distcnn.parallel.heartbeat import COMPUTING, WAITING, Heartbeat
from distcnn.parallel.node import node, share_of_cores
from distcnn.reports.report import Report
from distcnn.run.state import State
from distcnn.run.training_progress import Score, TrainingProgress
from distcnn.training import class_weights, early_stopping, frozen_parameters
from distcnn.training.evaluation import evaluate
from distcnn.training.replica import Replica
from distcnn.training.report import report_on
from distcnn.training.schedule import learning_rate
from distcnn.training.setup import (
    find_network,
    make_batches,
    make_net,
    most_workers,
    normalization,
    require_memory,
    standardization,
)
from distcnn.training.sync_batchnorm import SyncBatchNorm
from distcnn.training.workers import StepHooks, WorkerPool

T = TypeVar("T")


class Trainer:
    """Trains a replica. The constructor, `compile`, `step`, `evaluations` and `recompute` are collective.

    Whatever computes with floats, in Python and NumPy too, does so in IEEE arithmetic: see kernels/float_mode.

    config: the settings.
    network: the network that is trained.
    dataset: the data; its training split is trained on.
    comm: the communicator of all ranks.
    replica: the net, the state of optimizer and EMA, and the progress.
    batches: the batches of an epoch, and the range of blocks of each batch that this rank computes.
    pool: the workers of this rank.
    heartbeat: of this rank.
    notes: lines on what the settings have made of the net, for the user.

    The constructor takes a network; without one, it makes the one that the settings name. It raises ConfigError,
    NetError or DataError, the same on every rank.
    """

    @in_ieee_mode
    def __init__(self, config: Config, dataset: Dataset, comm: Comm, network: Network | None = None):
        self.config, self.dataset, self.comm = config, dataset, comm
        sources = code_sources(config.model, config.layers)
        self.network = network or find_network(config, dataset, comm, sources=sources)
        layers = self.network.layers
        self.batches = on_all(comm, make_batches, config, dataset, comm)
        workers = min(config.threads or share_of_cores(comm), most_workers(config, self.batches))
        ranks = len(node(comm).ranks)
        on_all(comm, require_memory, config, dataset, layers, self.batches, workers, ranks)
        on_all(comm, early_stopping.require_validation, config, dataset)
        self.net = on_all(comm, make_net, config, dataset, layers)
        weights = self.net.shared.class_weights
        self.notes = [*class_weights.told(weights, dataset.classes), *frozen_parameters.told(self.net)]
        means = on_root(comm, normalization, config, dataset)
        targets = on_root(comm, standardization, dataset)
        self.replica = Replica(config, dataset, self.network, self.net, *means, targets)
        self.pool = WorkerPool(self.net, workers)
        # Between two exchanges of batch norms, the final part of the sums differs between ranks.
        overlap = False if config.norm_group == GLOBAL else None
        sums, offsets = self.net.sums, self.net.offsets
        skipped = self.net.shared.freezing.start
        self._allreduce = GradientAllreduce(comm, sums, offsets, config.reduction, overlap, skipped)
        self._counters, self.heartbeat = Counters(sums), Heartbeat(comm)
        ready = None if self._allreduce.blocking else self._allreduce.start
        self._hooks = StepHooks(self._before_group, ready, self._add_up)

    # ---- progress ----

    @property
    def progress(self) -> TrainingProgress:
        """How far training is."""
        return self.replica.progress

    @property
    def steps(self) -> int:
        """The number of finished steps in total."""
        return self.progress.steps

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or so many that training stops early."""
        return self.progress.epoch >= self.config.epochs or self.stopped_early

    @property
    def stopped_early(self) -> bool:
        """Whether the last `patience` epochs have had no better validation result."""
        return early_stopping.is_over(self.config.patience, self.progress)

    @property
    def epoch_done(self) -> bool:
        """Whether all batches of this epoch are done."""
        return self.steps == (self.progress.epoch + 1) * self.batches.length

    @property
    def between_epochs(self) -> bool:
        """Whether training is after the last step of an epoch and before the first step of the next."""
        return self.steps > 0 and self.steps % self.batches.length == 0

    # ---- training ----

    def compile(self) -> None:
        """Load all kernels from the cache; the first rank of each node compiles those that are missing."""
        compile_in_turns(self.comm, self._compile)

    def remaining(self) -> Iterator[list[Block]]:
        """Yield this rank's blocks of every remaining batch; the caller calls `next_epoch` after each epoch."""
        while not self.finished:
            epoch = self.progress.epoch
            yield from each_in_ieee_mode(self.batches.epoch(epoch, self.steps - epoch * self.batches.length))

    @in_ieee_mode
    def step(self, blocks: Sequence[Block], stop: bool = False) -> None:
        """Train on a batch.

        blocks: this rank's part of the batch.
        stop: whether this rank was asked to stop; if so, `progress.stop_requested` becomes true on every rank.

        Raises StepDiverged on every rank, before the update, if a loss or gradient is NaN or out of range.
        """
        progress, counters, heartbeat = self.progress, self._counters, self.heartbeat
        heartbeat.beat(COMPUTING, progress.steps + 1)
        rate = learning_rate(self.config, progress.steps, self.batches.length)
        self.pool.train(blocks, self.batches.most, progress.epoch, self._hooks, self.batches.share.start)
        counters.stop = stop
        heartbeat.beat(WAITING)
        self._allreduce.finish()
        heartbeat.beat(COMPUTING)
        if counters.overflows:
            raise mark_collective(StepDiverged(progress.steps + 1, blocks))
        totals = counters.totals
        self._require_all(totals.samples)
        self.replica.update(totals, rate, counters.stop > 0)

    def next_epoch(self, score: Score | None = None) -> None:
        """Begin the next epoch: count it, and clear the totals and the waiting time; score: of the one that is done."""
        self.replica.progress = self.progress.next_epoch(score)
        self.heartbeat.waited = 0.0

    @in_ieee_mode
    def evaluations(self) -> dict[str, dict[str, float | None]]:
        """Return the metrics over the validation and test splits, if they exist, by the name of the split."""
        when = f"after step {self.steps}"
        splits = {"validation": self.dataset.validation, "test": self.dataset.test}
        with self.replica.ema.in_use():
            return {
                name: evaluate(self.pool, split, self.comm, when, self.heartbeat)
                for name, split in splits.items()
                if split
            }

    def report(self, checkpoint: str) -> Report | None:
        """Return the report on the test split, on rank 0; None on the others, or without a test split. Collective.

        checkpoint: the path of the last one.
        """
        data, epoch = self.dataset, self.progress.epoch
        if not data.test:
            return None
        about = {
            "checkpoint": checkpoint,
            "epoch": epoch,
            "step": self.steps,
            "data": data.name,
            "split": "test",
        }
        when = f"after step {self.steps}"
        with self.replica.ema.in_use():
            return report_on(self.pool, data.test, data.classes, about, self.comm, when, self.heartbeat)

    def recompute(self, blocks: Sequence[Block], examine: Callable[..., T]) -> T:
        """Return examine(net, blocks, positions, epoch, allgather) for the batch of a step that has failed. Collective.

        blocks: this rank's part of the batch.
        examine: a function such as `distcnn.resilience.diagnose.diagnose`, where the arguments are described.
        """
        first, positions = self.batches.share.start, self.batches.most
        sync = SyncBatchNorm([len(blocks)], first, positions, self._add_up)
        with sync.worker(0) if self.config.norm_group == GLOBAL else nullcontext() as allgather:
            return examine(self.net, blocks, positions, self.progress.epoch, allgather)

    # ---- the replica, as recovery, verification and checkpoints use it ----

    @property
    def arrays(self) -> list[np.ndarray]:
        """All arrays of the replica: the weights, then the auxiliary state."""
        return self.replica.arrays

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of the weights that evaluation uses."""
        return self.replica.digest

    @property
    def failed_blocks(self) -> str | None:
        """The names of the blocks in which this rank's last step has failed, or None."""
        return self.pool.failed_blocks

    def state(self) -> State:
        """Return a copy of everything on which later bits depend."""
        return self.replica.state()

    def restore(self, state: State, where: str | Path) -> None:
        """Set the replica to a state; raise CheckpointError if the state does not fit.

        where: the name of the state in error messages.
        """
        self.replica.restore(state, where)

    def cancel(self) -> None:
        """Wait for the pending MPI requests of a step that has failed, and ignore their result."""
        self._allreduce.cancel()

    def restart(self, progress: TrainingProgress) -> None:
        """Resume from a progress, whose arrays the caller has written, with the ranks that `comm` has now."""
        self.replica.progress = progress
        self.pool.clear()
        self.repartition()

    def repartition(self) -> None:
        """Partition the blocks of every batch among the ranks that `comm` has now."""
        self.batches.close()
        self.batches = make_batches(self.config, self.dataset, self.comm)

    def close(self) -> None:
        """End the threads of this rank's workers and of its batches; the net stays."""
        self.pool.close()
        self.batches.close()

    # ---- inside ----

    def _before_group(self, blocks: Sequence[Block]) -> None:
        """Beat before a worker computes a group of blocks."""
        self.heartbeat.beat(COMPUTING)

    def _add_up(self, array: np.ndarray) -> None:
        """Add up an array over all ranks, in place."""
        self.heartbeat.beat(WAITING)
        self.comm.Allreduce(None, array)
        self.heartbeat.beat(COMPUTING)

    def _require_all(self, samples: int) -> None:
        """Raise an exception, on all ranks, unless a sum covers the whole batch.

        It is the DataError of a rank that could not read its samples, or RuntimeError: a faulty MPI might leave out a
        rank.
        """
        size, step = self.config.batch_size, self.steps - self.progress.epoch * self.batches.length
        wanted = min(size, len(self.dataset.train.labels) - step * size)
        if samples != wanted:
            on_all(self.comm, self._require_data)
            raise RuntimeError(f"a sum over {samples} samples, wanted {wanted}")

    def _require_data(self) -> None:
        """Raise DataError if this rank could not read its samples."""
        if self.batches.failure:
            raise self.batches.failure

    def _compile(self) -> object:
        """Return everything that needs compiled kernels, which this compiles or loads."""
        needed = [pack(self.dataset.train.images.dtype.name), *float_mode.kernels(), *self.replica.kernels]
        needed += self.net.augmentation.kernels if self.net.augmentation else []
        needed += self.batches.kernels
        probabilities = LOSSES[self.net.task.name].probabilities  # for the report
        needed += [probabilities] if probabilities and self.dataset.test else []
        needed += [weighted_cross_entropy] if self.net.shared.class_weights is not None else []
        self.pool.compile()
        return [kernel.compiled for kernel in needed]
