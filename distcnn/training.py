"""One training run in memory: the replica, its step, its evaluation, and its state, which is nothing per rank."""

import numpy as np

from distcnn.config import NUMERICS, to_toml
from distcnn.data.batches import Batches, blocks
from distcnn.data.statistics import channel_statistics
from distcnn.errors import CheckpointError, Diverged
from distcnn.exact import CORRECT, HEAD, LOSS, OVERFLOWS, QUANTUM, SAMPLES, STOP, SUM_BITS
from distcnn.lanes import LANES
from distcnn.models import build
from distcnn.optim import Momentum, learning_rate
from distcnn.parallel.agreement import agreed, on_all, on_root, wait
from distcnn.parallel.blocks import owned
from distcnn.parallel.reduction import Reduction
from distcnn.parallel.world import node
from distcnn.state import State, require_parameters


class Training:
    """A replica and where it stands: `epoch` (from 0), `steps` (in total), and the sums of the epoch so far.

    Making one is collective; it compiles all kernels. epoch_sums: loss in quanta of 2**-36, right answers, samples.
    Raises ConfigError, NetError and LaunchError, the same on every rank.
    """

    def __init__(self, config, dataset, comm):
        self.config, self.dataset, self.comm = config, dataset, comm
        self.epoch, self.steps, self.epoch_sums = 0, 0, (0, 0, 0)
        self.net, self.batches = on_all(comm, self._make)
        self.mean, self.std = on_root(comm, self._statistics)
        self._normalise()
        self.optimiser = Momentum(self.net.weights, config.momentum, config.weight_decay)
        self.reduction = Reduction(comm, self.net.sums, self.net.offsets, config.reduction)
        compile_once(comm, self.net)

    @property
    def finished(self):
        """Whether all epochs are done."""
        return self.epoch >= self.config.epochs

    @property
    def steps_in_epoch(self):
        """Batches of this epoch that are done."""
        return self.steps - self.epoch * self.batches.length

    def step(self, blocks, stop=False):
        """Train on a batch, of which `blocks` are this rank's; return whether any rank wants to stop.

        Raises Diverged on every rank, before the update, if a loss or gradient is NaN or out of range.
        """
        net, batches = self.net, self.batches
        rate = learning_rate(self.config, self.steps, batches.length)
        net.start(batches.positions)
        for block in blocks:
            net.train_block(block, self.reduction.ready if block is blocks[-1] else None)
        net.sums[STOP] = stop
        self.reduction.finish()
        loss, correct, samples = self._totals(f"step {self.steps + 1} (epoch {self.epoch + 1})")
        self.optimiser.update(net.sums[HEAD:], samples, rate)
        self.epoch_sums = tuple(a + b for a, b in zip(self.epoch_sums, (loss, correct, samples), strict=True))
        self.steps += 1
        return net.sums[STOP] > 0

    def evaluate(self, part):
        """Return mean loss and accuracy over a part of the dataset, the work shared by all ranks, the sums exact."""
        positions = -(-len(part.labels) // LANES)
        self.net.start(positions)
        share = owned(positions, self.comm.rank, self.comm.size)
        for block in blocks(part, np.arange(len(part.labels)), share):
            self.net.evaluate_block(block)
        self.comm.Allreduce(None, self.net.sums[:HEAD])
        return means(self._totals(f"the evaluation after step {self.steps}"))

    def next_epoch(self):
        """Begin the next epoch's sums."""
        self.epoch, self.epoch_sums = self.epoch + 1, (0, 0, 0)

    def state(self):
        """Return everything that later bits depend on, copied."""
        shapes = [(name, array.shape) for name, array in self.net.parameters.items()]
        return State(
            config_toml=to_toml(self.config),
            numerics=NUMERICS,
            seed=self.config.seed,
            data_fingerprint=self.dataset.fingerprint,
            classes=self.dataset.classes,
            input_shape=self.net.input_shape,
            mean=self.mean,
            std=self.std,
            names_and_shapes=shapes,
            parameters=self.net.weights.copy(),
            velocities=self.optimiser.velocities.copy(),
            epoch=self.epoch,
            step=self.steps,
            epoch_sums=self.epoch_sums,
            finished=self.finished,
            digest=self.net.digest,
        )

    def restore(self, state, where):
        """Go on from a state read from `where`. Raises CheckpointError if it is of another net or of other data."""
        shapes = [(name, array.shape) for name, array in self.net.parameters.items()]
        require_parameters(state, shapes, where)
        if state.data_fingerprint != self.dataset.fingerprint:
            raise CheckpointError(f"{where}: was trained on other data than {self.dataset.name}: name its file by --data")
        self.net.weights[:], self.optimiser.velocities[:] = state.parameters, state.velocities
        self.epoch, self.steps, self.epoch_sums = state.epoch, state.step, tuple(state.epoch_sums)
        self.mean, self.std = state.mean, state.std
        self._normalise()

    def _make(self):
        config, train = self.config, self.dataset.train
        batches = Batches(train, config.batch_size, config.seed, self.comm.rank, self.comm.size)
        return build(config.model, train.images.shape[1:], len(self.dataset.classes), config.seed), batches

    def _statistics(self):
        """Return mean and standard deviation of each channel, float32; without normalisation, bytes go to 0 ... 1."""
        images = self.dataset.train.images
        if self.config.normalise == "channel":
            return tuple(array.astype(np.float32) for array in channel_statistics(images))
        zeros = np.zeros(images.shape[1], np.float32)
        return zeros, zeros + np.float32(255 if images.dtype == np.uint8 else 1)

    def _normalise(self):
        mean, std = self.mean.astype(np.float64), self.std.astype(np.float64)
        self.net.scale[:], self.net.shift[:] = 1 / std, -mean / std

    def _totals(self, where):
        """Return the head's loss (in quanta), right answers and samples, or raise Diverged."""
        head = self.net.sums[:HEAD]
        if head[OVERFLOWS]:
            raise agreed(Diverged(f"training diverged at {where}: a loss or gradient is NaN or beyond 2**27"))
        return int(head[LOSS]), int(head[CORRECT]) >> SUM_BITS, int(head[SAMPLES]) >> SUM_BITS


def means(sums):
    """Return mean loss and accuracy from sums of loss (in quanta), right answers and samples."""
    loss, correct, samples = sums
    return loss * QUANTUM / samples, correct / samples


def compile_once(comm, net):
    """Make the net's plan on the first rank of each node, which compiles, then on the others, from its cache."""
    local = node(comm)
    if local.rank == 0:
        net.plan  # noqa: B018 - making it is the point
    wait(local)
    net.plan  # noqa: B018
    local.Free()
