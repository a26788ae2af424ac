"""The replica: weights, optimizer state, EMA and progress, which are all that later bits depend on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from distcnn.config.settings import NUMERICS, Config
from distcnn.config.toml import to_toml
from distcnn.data.dataset import Dataset
from distcnn.errors import CheckpointError, Diverged
from distcnn.kernels.batchnorm import update_running_stats
from distcnn.kernels.jit import Kernel
from distcnn.kernels.optimizers import ema_update
from distcnn.network.net import Net
from distcnn.numerics.fixed_point import Totals
from distcnn.parallel.collective import mark_collective
from distcnn.run.state import State, digest, require_auxiliary_state, require_parameters
from distcnn.run.training_progress import TrainingProgress
from distcnn.training.ema import WeightEMA
from distcnn.training.optimizers import OPTIMIZERS


class Replica:
    """A net in training. Its state is the same on all ranks.

    net: the net, whose sums hold the totals of a batch when `update` is called.
    mean, std: of each channel, float32 [c], by which images are normalized.
    progress: how far training is.
    """

    def __init__(self, config: Config, dataset: Dataset, net: Net, mean: np.ndarray, std: np.ndarray):
        self.net, self.mean, self.std, self._dataset = net, mean, std, dataset
        net.normalize(mean, std)
        self.optimizer = OPTIMIZERS[config.optimizer](net, config)
        self.ema = WeightEMA(net.weights, config.ema_decay)
        self.progress = TrainingProgress()
        self._constants: dict[
            str, Any
        ] = {  # of every state: made once, as this takes longer than to copy a small net
            "config_toml": to_toml(config),
            "numerics": NUMERICS,
            "seed": config.seed,
            "data_fingerprint": dataset.fingerprint,
            "classes": dataset.classes,
            "input_shape": net.input_shape,
            "dtype": dataset.train.images.dtype.name,
            "names_and_shapes": [(name, array.shape) for name, array in net.arrays.items()],
        }

    @property
    def auxiliary_state(self) -> dict[str, np.ndarray]:
        """The state of optimizer and EMA, by the names that its arrays have in checkpoints."""
        return self.optimizer.arrays | self.ema.arrays

    @property
    def arrays(self) -> list[np.ndarray]:
        """All arrays of the replica."""
        return [self.net.weights, *self.auxiliary_state.values()]

    @property
    def digest(self) -> str:
        """SHA-256 of the weights that evaluation uses: all parameters, then running statistics, as hex."""
        return digest(self.ema.result)

    @property
    def kernels(self) -> list[Kernel]:
        """The kernels that an update calls."""
        needed = [*self.optimizer.kernels, *([ema_update] if self.ema.arrays else [])]
        return needed + [update_running_stats] * (self.net.trained < self.net.weights.size)

    def update(self, totals: Totals, learning_rate: float, stop_requested: bool) -> None:
        """Finish a step whose totals, and whose gradients in the net's sums, are those of the whole batch."""
        step = self.progress.steps + 1
        self.optimizer.update(totals.samples, learning_rate, step)
        self.net.update_running_stats(totals.samples)
        self.ema.update(step)
        self.progress = TrainingProgress(
            step, self.progress.epoch, self.progress.totals.plus(totals), stop_requested
        )

    def next_epoch(self) -> None:
        """Begin the next epoch."""
        self.progress = replace(self.progress, epoch=self.progress.epoch + 1, totals=Totals())

    def require_finite(self) -> None:
        """Raise Diverged on every rank if the last update has left weights that are not finite: none may be saved."""
        if not np.isfinite(self.net.weights).all():
            raise mark_collective(
                Diverged(
                    f"diverged: step {self.progress.steps} left weights beyond float32; lower --learning-rate"
                )
            )

    def state(self) -> State:
        """Return everything that later bits depend on, copied; without the digest, which takes long."""
        return State(
            **self._constants,
            mean=self.mean,
            std=self.std,
            parameters=self.net.weights.copy(),
            auxiliary_state={name: array.copy() for name, array in self.auxiliary_state.items()},
            epoch=self.progress.epoch,
            step=self.progress.steps,
            epoch_sums=self.progress.totals.plain(),
        )

    def restore(self, state: State, where: str) -> None:
        """Go on from a state; where: how messages name it.

        Raises CheckpointError if it is of another net or of other data.
        """
        if state.data_fingerprint != self._dataset.fingerprint:
            raise CheckpointError(
                f"{where}: trained on other data than {self._dataset.name}: name the same by --data, or start anew"
            )
        require_parameters(state, self._constants["names_and_shapes"], where)
        require_auxiliary_state(state, self.auxiliary_state, where)
        self.net.weights[:] = state.parameters
        for name, array in self.auxiliary_state.items():
            array[:] = state.auxiliary_state[name]
        self.progress = TrainingProgress(
            state.step, state.epoch, Totals(*state.epoch_sums), self.progress.stop_requested
        )
        self.mean, self.std = state.mean, state.std
        self.net.normalize(self.mean, self.std)
