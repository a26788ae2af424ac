"""One training run in memory: the replica, its step, its evaluation, and its state, which is nothing per rank."""

import operator

import numpy as np

from distcnn.config import augment_spec
from distcnn.config.settings import NUMERICS
from distcnn.config.toml import to_toml
from distcnn.config.types import GLOBAL
from distcnn.data.augmentation import Augmentation
from distcnn.data.batches import Batches
from distcnn.data.dataset import load
from distcnn.data.statistics import channel_statistics
from distcnn.errors import CheckpointError, ConfigError, Diverged
from distcnn.kernels.batchnorm import update_running_stats
from distcnn.kernels.float_mode import set_float_mode
from distcnn.kernels.optimizers import ema_update
from distcnn.kernels.pointwise import pack
from distcnn.models import build, check_memory
from distcnn.network.group_plan import partition_unit
from distcnn.numerics.fixed_point import OVERFLOWS, STOP
from distcnn.parallel.allreduce import GradientAllreduce
from distcnn.parallel.collective import mark_collective, on_all, on_root
from distcnn.parallel.compile_once import compile_in_turns
from distcnn.parallel.cores import share_of_cores
from distcnn.parallel.node import node
from distcnn.parallel.ulfm import rank_name
from distcnn.parallel.watch import COMPUTING, WAITING, Watch
from distcnn.resilience.diagnose import diagnose
from distcnn.resilience.replicas import Replicas
from distcnn.run.state import State, digest, require_auxiliary_state, require_parameters
from distcnn.training.ema import WeightEMA
from distcnn.training.evaluation import evaluate, means, totals
from distcnn.training.optimizers import OPTIMIZERS
from distcnn.training.schedule import learning_rate
from distcnn.training.sync_batchnorm import exchanges
from distcnn.training.workers import WorkerPool


def data_of(config, comm):
    """Return the dataset that these settings name, cut as they say."""
    return load(config.data, comm, config.validation_split, config.seed)


class Trainer:
    """A replica and where it stands: `epoch` (from 0), `steps` (in total), and the sums of the epoch so far.

    Making one, compiling, stepping and evaluating are collective. epoch_sums: loss in quanta of 2**-36, right
    answers, samples. Raises ConfigError, NetError and LaunchError, the same on every rank.
    """

    def __init__(self, config, dataset, comm):
        self.config, self.dataset, self.comm = config, dataset, comm
        self.epoch, self.steps, self.epoch_sums, self.stop_requested = 0, 0, (0, 0, 0), False
        self.batches = on_all(comm, self._batches)
        groups = -(-len(self.batches.share) // partition_unit(config.norm_group))
        workers = min(config.threads or share_of_cores(comm), groups)
        ranks = len(node(comm).ranks)
        on_all(comm, self._require_memory, workers, ranks)
        self.net = on_all(comm, self._make)
        self.mean, self.std = on_root(comm, self._statistics)
        self.net.normalize(self.mean, self.std)
        self.net.label_smoothing = config.label_smoothing
        self.optimizer = OPTIMIZERS[config.optimizer](self.net, config)
        self.ema = WeightEMA(self.net.weights, config.ema_decay)
        self.pool = WorkerPool(self.net, workers)
        # between two meetings of norms, ranks differ in how much of the sums is ready to travel
        overlap = False if config.norm_group == GLOBAL else None
        self.reduction = GradientAllreduce(comm, self.net.sums, self.net.offsets, config.reduction, overlap)
        self.watch, self.replicas = Watch(comm, config.hang_timeout), Replicas(self)
        self._fixed = {  # of every state: found once, as this takes longer than to copy a small net
            "config_toml": to_toml(config),
            "numerics": NUMERICS,
            "seed": config.seed,
            "data_fingerprint": dataset.fingerprint,
            "classes": dataset.classes,
            "input_shape": self.net.input_shape,
            "dtype": dataset.train.images.dtype.name,
            "names_and_shapes": [(name, array.shape) for name, array in self.net.arrays.items()],
        }

    @property
    def auxiliary_state(self):
        """The arrays that go with the weights, by name."""
        return self.optimizer.arrays | self.ema.arrays

    @property
    def arrays(self):
        """The arrays of this replica."""
        return self.net.weights, *self.auxiliary_state.values()

    @property
    def digest(self):
        """SHA-256 of the weights that evaluation uses: all parameters, then running statistics, as hex."""
        return digest(self.ema.result)

    @property
    def progress(self):
        """How far this replica is; of two, the greater is ahead."""
        return self.steps, self.epoch, self.epoch_sums, self.stop_requested

    @progress.setter
    def progress(self, progress):
        self.steps, self.epoch, self.epoch_sums, self.stop_requested = progress

    @property
    def finished(self):
        """Whether all epochs are done."""
        return self.epoch >= self.config.epochs

    @property
    def epoch_done(self):
        """Whether all batches of this epoch are done."""
        return self.steps == (self.epoch + 1) * self.batches.length

    @property
    def between_epochs(self):
        """Whether a whole number of epochs, more than none, is done."""
        return self.steps > 0 and self.steps % self.batches.length == 0

    @property
    def means(self):
        """Mean loss and accuracy of the epoch so far."""
        return means(self.epoch_sums)

    def compile(self):
        """Make all kernels ready: found in the cache, or compiled by the first rank of each node for all."""
        compile_in_turns(self.comm, self._compile)

    def remaining(self):
        """Yield this rank's blocks of every batch that is left; the caller says when the `next_epoch` begins."""
        while not self.finished:
            yield from self.batches.epoch(self.epoch, self.steps - self.epoch * self.batches.length)

    def step(self, blocks, stop=False):
        """Train on a batch, of which `blocks` are this rank's; `asked` is then whether any rank wants to stop.

        Raises Diverged on every rank, before the update, if a loss or gradient is NaN or out of range.
        """
        net, batches, watch = self.net, self.batches, self.watch
        watch.note(COMPUTING, self.steps + 1)
        rate = learning_rate(self.config, self.steps, batches.length)
        watched = self._note, None if self.reduction.blocking else self.reduction.start
        self.pool.train(blocks, batches.most, self.epoch, *watched, batches.share.start, self._add)
        net.sums[STOP] = stop
        watch.note(WAITING)
        self.reduction.finish()
        watch.note(COMPUTING)
        if net.sums[OVERFLOWS]:
            self._diverged(blocks)
        sums = totals(net.sums, f"step {self.steps + 1}")
        self._require_all(sums[2])
        self.stop_requested = net.sums[STOP] > 0
        self.optimizer.update(sums[2], rate, self.steps + 1)
        net.update_running_stats(sums[2])
        self.ema.update(self.steps + 1)
        self.epoch_sums = tuple(map(operator.add, self.epoch_sums, sums))
        self.steps += 1

    def evaluations(self):
        """Return mean loss and accuracy over each part of the dataset that is not trained on, by its name."""
        where = f"the evaluation after step {self.steps}"
        parts = {"validation": self.dataset.validation, "test": self.dataset.test}
        with self.ema.in_use():
            return {
                name: means(evaluate(self.pool, part, self.comm, where, self.watch))
                for name, part in parts.items()
                if part
            }

    def waits(self):
        """Return how many seconds of this epoch each rank has waited for the others."""
        self.watch.note(WAITING)
        return self.comm.allgather(round(self.watch.waited, 3))

    def repartition(self):
        """Divide the blocks of every batch among the ranks that there are now."""
        self.batches = self._batches()

    def require_finite(self):
        """Raise Diverged on every rank if the last update has left weights that are not finite: none may be saved."""
        if not np.isfinite(self.net.weights).all():
            raise mark_collective(
                Diverged(f"diverged: step {self.steps} left weights beyond float32; lower --learning-rate")
            )

    def next_epoch(self):
        """Begin the next epoch."""
        self.epoch, self.epoch_sums = self.epoch + 1, (0, 0, 0)
        self.watch.waited = 0.0

    def state(self):
        """Return everything that later bits depend on, copied, but for the digest, which takes long."""
        return State(
            **self._fixed,
            mean=self.mean,
            std=self.std,
            parameters=self.net.weights.copy(),
            auxiliary_state={name: array.copy() for name, array in self.auxiliary_state.items()},
            epoch=self.epoch,
            step=self.steps,
            epoch_sums=self.epoch_sums,
        )

    def restore(self, state, where):
        """Go on from a state read from `where`. Raises CheckpointError if it is of another net or of other data."""
        if state.data_fingerprint != self.dataset.fingerprint:
            raise CheckpointError(
                f"{where}: trained on other data than {self.dataset.name}: name the same by --data, or start anew"
            )
        require_parameters(state, self._fixed["names_and_shapes"], where)
        require_auxiliary_state(state, self.auxiliary_state, where)
        self.net.weights[:] = state.parameters
        for name, array in self.auxiliary_state.items():
            array[:] = state.auxiliary_state[name]
        self.epoch, self.steps, self.epoch_sums = state.epoch, state.step, tuple(state.epoch_sums)
        self.mean, self.std = state.mean, state.std
        self.net.normalize(self.mean, self.std)

    def _note(self, blocks):
        """Take note that another group of blocks begins."""
        self.watch.note(COMPUTING)

    def _add(self, array):
        """Add up an array over all ranks, in place."""
        self.watch.note(WAITING)
        self.comm.Allreduce(None, array)
        self.watch.note(COMPUTING)

    def _make(self):
        config, train = self.config, self.dataset.train
        shape, classes = train.images.shape[1:], len(self.dataset.classes)
        net = build(config.model, shape, classes, config.seed, config.conv, config.norm_group)
        if config.norm_group != 1 and not any(layer.synchronizes for layer in net.layers):
            raise ConfigError(
                f"--norm-group {config.norm_group} does nothing with --model {config.model}, which has no batch norm: "
                f"leave it out"
            )
        if config.augment != augment_spec.NONE:
            asked, images = augment_spec.read(config.augment), train.images
            net.augmentation = Augmentation(asked, images.shape[1:], images.dtype, net.context)
        return net

    def _require_memory(self, workers, ranks):
        """Raise NetError unless the ranks of this node can train the model, before anything of it is made."""
        config, classes = self.config, len(self.dataset.classes)
        slots = len(OPTIMIZERS[config.optimizer].slot_names) + bool(config.ema_decay)
        shape = self.dataset.train.images.shape[1:]
        most = min(self.batches.most, self.batches.share.stop) - self.batches.share.start
        blocks = -(-most // workers) if config.norm_group == GLOBAL else config.norm_group
        check_memory(config.model, shape, classes, workers, slots, ranks, max(blocks, 1))

    def _batches(self):
        config = self.config
        ranks = self.comm.rank, self.comm.size
        group = partition_unit(config.norm_group)
        return Batches(self.dataset.train, config.batch_size, config.seed, *ranks, group)

    def _require_all(self, samples):
        """Raise RuntimeError unless a sum is over the whole batch: an MPI in trouble might leave a rank out."""
        rest = (
            len(self.dataset.train.labels)
            - (self.steps - self.epoch * self.batches.length) * self.config.batch_size
        )
        if samples != min(self.config.batch_size, rest):
            raise RuntimeError(f"a sum over {samples} samples, wanted {min(self.config.batch_size, rest)}")

    def _diverged(self, blocks):
        """Raise Diverged on every rank, naming what can be found; Spoilt if only some replicas are at fault."""
        self.replicas.check_equal()
        first, most = self.batches.share.start, self.batches.most
        (exchange_of,) = exchanges(self.config.norm_group, [len(blocks)], first, most, self._add)
        with exchange_of as exchange:
            found = self.comm.allgather(diagnose(self.net, blocks, most, self.epoch, exchange))
        known = [(*each, rank) for rank, each in enumerate(found) if each]
        _, what, rank = min(known, key=operator.itemgetter(0), default=(0, "the sum over all ranks", 0))
        raise mark_collective(
            Diverged(
                f"diverged at step {self.steps + 1}, whose update was not applied: {what}, on "
                f"{rank_name(self.comm, rank)}; try a lower --learning-rate"
            )
        )

    def _compile(self):
        needed = [pack(self.dataset.train.images.dtype.name), set_float_mode, *self.optimizer.kernels]
        needed += [update_running_stats] * (self.net.trained < self.net.weights.size)
        needed += [ema_update] * bool(self.ema.arrays)
        needed += self.net.augmentation.kernels if self.net.augmentation else []
        self.pool.compile()
        return [kernel.compiled for kernel in needed]

    def _statistics(self):
        """Return mean and standard deviation of each channel, float32; without normalisation, bytes go to 0 ... 1."""
        images = self.dataset.train.images
        if self.config.normalize == "channel":
            return tuple(array.astype(np.float32) for array in channel_statistics(images))
        zeros = np.zeros(images.shape[1], np.float32)
        return zeros, zeros + np.float32(255 if images.dtype == np.uint8 else 1)
