"""The replica: weights, optimizer state, EMA and progress, which determine all later bits of the training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from distcnn.config.settings import Config
from distcnn.config.toml import to_toml
from distcnn.data.dataset import Dataset
from distcnn.errors import LOWER_RATE, CheckpointError, Diverged
from distcnn.kernels.batchnorm import update_running_stats
from distcnn.kernels.jit import Kernel
from distcnn.kernels.optimizers import ema_update
from distcnn.models.base import Network
from distcnn.network.net import Net
from distcnn.network.targets import Moments
from distcnn.numerics import NUMERICS
from distcnn.numerics.fixed_point import Totals
from distcnn.parallel.collective import mark_collective
from distcnn.run.state import State, digest, require_auxiliary_state, require_parameters
from distcnn.run.training_progress import TrainingProgress
from distcnn.training.ema import WeightEMA
from distcnn.training.optimizers import OPTIMIZERS

NO_TARGETS = np.empty(0, np.float32), np.empty(0, np.float32)  # where targets are not standardized


class Replica:
    """A net in training, with optimizer, EMA and progress; its state is the same on all ranks.

    network: the network of the net.
    net: the net; when `update` is called, its sums hold the totals of a batch.
    mean: of each channel, float32 [c], to normalize images.
    std: the standard deviation of each channel, float32 [c].
    targets: mean and standard deviation of each target, float32 [targets] each; empty if they are not standardized.
    progress: how far training is.
    initial_weights: the SHA-256, in hex, of the weights that `begin_with` has set; "" if it was not called.
    """

    def __init__(
        self,
        config: Config,
        dataset: Dataset,
        network: Network,
        net: Net,
        mean: np.ndarray,
        std: np.ndarray,
        targets: Moments = NO_TARGETS,
    ):
        self.net, self.mean, self.std, self.targets, self._dataset = net, mean, std, targets, dataset
        net.normalize(mean, std)
        net.targets.set(*targets)
        self.optimizer = OPTIMIZERS[config.optimizer](net, config)
        self.ema = WeightEMA(net.weights, config.ema_decay)
        self.progress, self.initial_weights = TrainingProgress(), ""
        # Fields that every state has; they are made once, because making them takes longer than copying a small net.
        self._constants: dict[str, Any] = {
            "config_toml": to_toml(replace(config, task=dataset.task)),
            "network": network.text,
            "user_code": network.user_code,
            "numerics": NUMERICS,
            "seed": config.seed,
            "data_fingerprint": dataset.fingerprint,
            "classes": dataset.classes,
            "input_shape": net.input_shape,
            "dtype": dataset.scale,
            "pictures": dataset.pictures,
            "names_and_shapes": [(name, array.shape) for name, array in net.arrays.items()],
        }

    def begin_with(
        self, arrays: Mapping[str, np.ndarray], normalization: Moments | None, targets: Moments | None = None
    ) -> None:
        """Set initial weights before the first step.

        arrays: parameters and running statistics by name; the others keep their initial values.
        normalization: mean and standard deviation of each channel, float32 [c]; None: they stay as they are.
        targets: mean and standard deviation of each target, float32 [targets]; None likewise.
        """
        for name, array in arrays.items():
            self.net.arrays[name][...] = array
        if normalization:
            self.mean, self.std = normalization
            self.net.normalize(self.mean, self.std)
        if targets:
            self.targets = targets
            self.net.targets.set(*targets)
        self.ema.result[:] = self.net.weights
        self.initial_weights = digest(self.net.weights)

    @property
    def auxiliary_state(self) -> dict[str, np.ndarray]:
        """The arrays of optimizer and EMA, by their names in checkpoints."""
        return self.optimizer.arrays | self.ema.arrays

    @property
    def arrays(self) -> list[np.ndarray]:
        """All arrays of the replica: the weights, then the auxiliary state."""
        return [self.net.weights, *self.auxiliary_state.values()]

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of the weights that evaluation uses: all parameters, then running statistics."""
        return digest(self.ema.result)

    @property
    def kernels(self) -> list[Kernel]:
        """The kernels that an update calls."""
        needed = [*self.optimizer.kernels, *([ema_update] if self.ema.arrays else [])]
        return needed + [update_running_stats] * (self.net.trained < self.net.weights.size)

    def update(self, totals: Totals, learning_rate: float, stop_requested: bool) -> None:
        """Update weights, running statistics and EMA by the gradients in the net's sums, and finish the step.

        totals: loss and counts of the whole batch.
        learning_rate: of this step.
        stop_requested: whether some rank was asked to stop.
        """
        step = self.progress.steps + 1
        self.optimizer.update(self.net.total_weight(totals.samples), learning_rate, step)
        self.net.update_running_stats(totals.samples)
        self.ema.update(step)
        epoch, totals = self.progress.epoch, self.progress.totals.plus(totals)
        self.progress = TrainingProgress(step, epoch, totals, stop_requested, self.progress.best)

    def require_finite(self) -> None:
        """Raise Diverged on every rank if some weights are not finite after the last update, so that none are saved."""
        if not np.isfinite(self.net.weights).all():
            step = self.progress.steps
            message = f"diverged: step {step} left weights beyond float32; {LOWER_RATE}"
            raise mark_collective(Diverged(message))

    def state(self) -> State:
        """Return a copy of everything on which later bits depend, without the digest, which takes long."""
        return State(
            **self._constants,
            mean=self.mean,
            std=self.std,
            target_mean=self.targets[0],
            target_std=self.targets[1],
            parameters=self.net.weights.copy(),
            auxiliary_state={name: array.copy() for name, array in self.auxiliary_state.items()},
            epoch=self.progress.epoch,
            step=self.progress.steps,
            epoch_sums=self.progress.totals.plain(),
            best=self.progress.best,
            initial_weights=self.initial_weights,
        )

    def restore(self, state: State, where: str | Path) -> None:
        """Set weights, auxiliary state, progress and normalization to those of a state.

        where: the name of the state in error messages.

        Raises CheckpointError if the state is of another net or of other data.
        """
        if state.data_fingerprint != self._dataset.fingerprint:
            remedy = "name its data (--data), or start a new run in another folder (--out)"
            raise CheckpointError(f"{where}: trained on other data than {self._dataset.name}: {remedy}")
        require_parameters(state, self._constants["names_and_shapes"], where)
        require_auxiliary_state(state, self.auxiliary_state, where)
        self.net.weights[:] = state.parameters
        for name, array in self.auxiliary_state.items():
            array[:] = state.auxiliary_state[name]
        totals, stop = Totals(*state.epoch_sums), self.progress.stop_requested
        self.progress = TrainingProgress(state.step, state.epoch, totals, stop, state.best)
        self.initial_weights = state.initial_weights
        self.mean, self.std, self.targets = state.mean, state.std, (state.target_mean, state.target_std)
        self.net.normalize(self.mean, self.std)
        self.net.targets.set(*self.targets)
