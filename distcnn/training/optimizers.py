"""Optimizers: each updates the flat weights by the mean gradient, with the same arithmetic on every rank.

To add an optimizer, add its kernel, name and settings to `distcnn.kernels.optimizers`, and its class to this module and
to `OPTIMIZERS`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from distcnn.config.settings import Config
from distcnn.kernels.float_mode import ieee_mode
from distcnn.kernels.jit import Kernel
from distcnn.kernels.optimizers import CHAINS, UPDATES, squares_of_sums, squares_of_weights
from distcnn.lanes import aligned
from distcnn.network.net import Net
from distcnn.numerics.fixed_point import HEAD, QUANTUM
from distcnn.numerics.portable_math import whole_power


class ParameterGroup(NamedTuple):
    """Adjacent parameters that are updated with the same settings: flat views of their arrays.

    weights: float32, the parameters.
    slots: float32, an array for each of the optimizer's `slot_names`.
    sums: int64, the exact sums of the gradients.
    decay: the weight decay.
    is_weight: whether they are weights, rather than biases or the parameters of a norm.
    """

    weights: np.ndarray
    slots: list[np.ndarray]
    sums: np.ndarray
    decay: float
    is_weight: bool


class Optimizer:
    """Base of all optimizers.

    net: its parameters are updated.
    config: the settings.
    arrays: the optimizer's state by slot name, flat float32 of the size of the weights; every checkpoint holds it.
    """

    name: str  # the key in kernels.optimizers.UPDATES, which has the kernel and the settings that it reads
    slot_names: tuple[str, ...] = ("velocities",)
    by_parameter = False  # whether each parameter is a group of its own

    def __init__(self, net: Net, config: Config):
        self.net, self.config = net, config
        self.kernel = UPDATES[self.name].kernel
        self.arrays = {name: aligned(net.weights.shape) for name in self.slot_names}
        self.groups = [self._group(*span) for span in self._spans()]

    def update(self, weight: float, learning_rate: float, step: int) -> None:
        """Update all parameters by the mean gradient, and clear the net's sums, from which it is computed.

        weight: the sum of the weights of the samples in the sums: the number of samples, if all weigh the same.
        learning_rate: of this step.
        step: the number of the step, from 1.
        """
        with ieee_mode():
            scale = self._clipped(QUANTUM / weight)
            for group in self.groups:
                self.move(group, scale, learning_rate, step)

    def move(self, group: ParameterGroup, scale: float, learning_rate: float, step: int) -> None:
        """Update a group of parameters.

        scale: the factor that turns sums into mean gradients.
        learning_rate: of this step.
        step: the number of the step, from 1.
        """
        raise NotImplementedError

    @property
    def kernels(self) -> list[Kernel]:
        """The kernels that an update calls."""
        return [self.kernel, *([squares_of_sums] if self.config.clip_norm else [])]

    def _spans(self) -> list[tuple[int, int, bool]]:
        """Return (start, stop, is_weight) of each group; frozen parameters are in none."""
        spans = self.net.shared.freezing.spans
        if self.by_parameter:
            return spans
        found: list[tuple[int, int, bool]] = []
        for start, stop, is_weight in spans:
            last = found[-1] if found else None
            if last and last[1] == start and (last[2] == is_weight or self.config.decay == "all"):
                start, _, is_weight = found.pop()
            found.append((start, stop, is_weight))
        return found

    def _group(self, start: int, stop: int, is_weight: bool) -> ParameterGroup:
        """Return the group of the parameters from `start` to `stop` in the flat weights."""
        span, decays = slice(start, stop), is_weight or self.config.decay == "all"
        slots = [array[span] for array in self.arrays.values()]
        sums = self.net.sums[HEAD + start : HEAD + stop]
        decay = self.config.weight_decay * decays
        return ParameterGroup(self.net.weights[span], slots, sums, decay, is_weight)

    def _clipped(self, scale: float) -> float:
        """Return the scale of the sums, reduced if the norm of all gradients exceeds a `clip_norm` above 0."""
        most = self.config.clip_norm
        if most:
            size = norm(squares_of_sums, self.net.sums[HEAD : HEAD + self.net.trained]) * scale
            scale *= most / size if size > most else 1.0
        return scale


def norm(kernel: Kernel, x: np.ndarray) -> float:
    """Return the Euclidean norm of x; the root is rounded correctly, as IEEE 754 requires.

    kernel: computes the sum of squares in a fixed order.
    """
    totals = np.empty(CHAINS)
    kernel(x, totals)
    return math.sqrt(totals[0])


class SGD(Optimizer):
    """Stochastic gradient descent with momentum (Polyak 1964, in PyTorch's form)."""

    name = "sgd"

    def move(self, group: ParameterGroup, scale: float, learning_rate: float, step: int) -> None:
        rates = learning_rate, self.config.momentum, group.decay
        self.kernel(group.weights, *group.slots, group.sums, scale, *rates)


class Nesterov(SGD):
    """Momentum with the gradient a step ahead (Nesterov 1983; Sutskever et al. 2013, in PyTorch's form)."""

    name = "nesterov"


class AdamW(Optimizer):
    """Adam (Kingma and Ba 2015) with decoupled weight decay (Loshchilov and Hutter 2019).

    `momentum` is the paper's beta1.
    """

    name = "adamw"
    slot_names = ("means", "squares")

    def move(self, group: ParameterGroup, scale: float, learning_rate: float, step: int) -> None:
        betas = self.config.momentum, self.config.beta2
        rate = learning_rate / (1.0 - whole_power(betas[0], step))
        correction = 1.0 / math.sqrt(1.0 - whole_power(betas[1], step))
        rates = rate, 1.0 - learning_rate * group.decay, *betas, correction, self.config.epsilon
        self.kernel(group.weights, *group.slots, group.sums, scale, *rates)


class Lars(Optimizer):
    """Layer-wise adaptive rates (You et al. 2017, algorithm 1): each weight array moves in proportion to its norm.

    Biases and the parameters of norms move at the learning rate itself, because their norm says little.
    """

    name = "lars"
    by_parameter = True

    def move(self, group: ParameterGroup, scale: float, learning_rate: float, step: int) -> None:
        rates = learning_rate * self._trust(group, scale), self.config.momentum, group.decay
        self.kernel(group.weights, *group.slots, group.sums, scale, *rates)

    @property
    def kernels(self) -> list[Kernel]:
        return [self.kernel, squares_of_sums, squares_of_weights]

    def _trust(self, group: ParameterGroup, scale: float) -> float:
        """Return the local learning rate, equation 6; 1 for biases, and where all weights or gradients are 0."""
        if not group.is_weight:
            return 1.0
        size = norm(squares_of_weights, group.weights)
        change = norm(squares_of_sums, group.sums) * scale + group.decay * size
        return self.config.trust_coefficient * size / change if size and change else 1.0


OPTIMIZERS = {each.name: each for each in (SGD, Nesterov, AdamW, Lars)}
