"""Optimisers: each moves the flat weights by the mean of exact sums, with the same arithmetic on every rank."""

import math
from itertools import groupby
from typing import NamedTuple

import numpy as np

from distcnn.kernels import optimizers
from distcnn.kernels.float_mode import ieee_mode
from distcnn.lanes import aligned
from distcnn.numerics.fixed_point import HEAD, QUANTUM
from distcnn.numerics.portable_math import whole_power


class Part(NamedTuple):
    """Neighbouring parameters that move alike: views of them, of what is kept beside them, and of their sums."""

    weights: np.ndarray  # float32, flat
    slots: list[np.ndarray]  # float32, one for each array that the optimiser keeps
    sums: np.ndarray  # int64
    decay: float
    adapts: bool  # to its own norm, under LARS


class Optimizer:
    """Base of all: what an optimiser needs and keeps.

    net: whose parameters it moves; config: the settings. arrays: by name, what it keeps from step to step, flat float32
    of the size of the weights: a part of the state.
    """

    slot_names: tuple[str, ...] = ("velocities",)
    by_parameter = False  # or in as few parts as decay allows

    name: str  # in kernels.optimizers.UPDATES, which has its kernel and the settings that it reads

    def __init__(self, net, config):
        self.net, self.config = net, config
        self.kernel = optimizers.UPDATES[self.name].kernel
        self.arrays = {name: aligned(net.weights.shape) for name in self.slot_names}
        self.parts = [self._part(*span) for span in self._spans()]

    def update(self, samples, learning_rate, step):
        """Do step `step`, from 1: apply the mean of `samples` gradients, whose sums the net has, and clear the sums."""
        with ieee_mode():
            scale = self._clipped(QUANTUM / samples)
            for part in self.parts:
                self.move(part, scale, learning_rate, step)

    def move(self, part, scale, learning_rate, step):
        """Move a part of the parameters."""
        raise NotImplementedError

    @property
    def kernels(self):
        """The kernels that an update takes."""
        return [self.kernel, *([optimizers.squares_of_sums] if self.config.clip_norm else [])]

    def _spans(self):
        """Return (start, stop, whether they are weights) of the parts."""
        if self.by_parameter:
            return self.net.spans
        decays = self.config.decay == "weights"
        groups = [list(group) for _, group in groupby(self.net.spans, lambda span: decays and span[2])]
        return [(group[0][0], group[-1][1], group[0][2]) for group in groups]

    def _part(self, start, stop, is_weight):
        span, decays = slice(start, stop), is_weight or self.config.decay == "all"
        slots = [array[span] for array in self.arrays.values()]
        sums = self.net.sums[HEAD + start : HEAD + stop]
        return Part(self.net.weights[span], slots, sums, self.config.weight_decay * decays, is_weight)

    def _clipped(self, scale):
        """Return the scale of the sums that makes the norm of all gradients at most `clip_norm`, if that is not 0."""
        most = self.config.clip_norm
        if most:
            size = norm(optimizers.squares_of_sums, self.net.sums[HEAD : HEAD + self.net.trained]) * scale
            scale *= most / size if size > most else 1.0
        return scale


def norm(kernel, x):
    """Return the root of the sum of squares: in an order of its own, and rounded correctly, as IEEE 754 wants roots."""
    totals = np.empty(optimizers.CHAINS)
    kernel(x, totals)
    return math.sqrt(totals[0])


class SGD(Optimizer):
    """Stochastic gradient descent with momentum (Polyak 1964, in PyTorch's form)."""

    name = "sgd"

    def move(self, part, scale, learning_rate, step):
        rates = learning_rate, self.config.momentum, part.decay
        self.kernel(part.weights, *part.slots, part.sums, scale, *rates)


class Nesterov(SGD):
    """Momentum that looks a step ahead (Nesterov 1983; Sutskever et al. 2013, in PyTorch's form)."""

    name = "nesterov"


class AdamW(Optimizer):
    """Adam (Kingma and Ba 2015); decay is decoupled: it shrinks weights by itself (Loshchilov and Hutter 2019: AdamW).

    `momentum` and `beta2` are the shares of the mean gradient and of the mean square that a step keeps.
    """

    name = "adamw"
    slot_names = ("means", "squares")

    def move(self, part, scale, learning_rate, step):
        betas = self.config.momentum, self.config.beta2
        rate = learning_rate / (1.0 - whole_power(betas[0], step))
        correction = 1.0 / math.sqrt(1.0 - whole_power(betas[1], step))
        rates = rate, 1.0 - learning_rate * part.decay, *betas, correction, self.config.epsilon
        self.kernel(part.weights, *part.slots, part.sums, scale, *rates)


class Lars(Optimizer):
    """Layer-wise adaptive rates (You et al. 2017, algorithm 1): each weight array moves in proportion to its norm.

    Biases and the parameters of norms, whose norm says little, move at the learning rate itself.
    """

    name = "lars"
    by_parameter = True

    def move(self, part, scale, learning_rate, step):
        rates = learning_rate * self._trust(part, scale), self.config.momentum, part.decay
        self.kernel(part.weights, *part.slots, part.sums, scale, *rates)

    @property
    def kernels(self):
        return [self.kernel, optimizers.squares_of_sums, optimizers.squares_of_weights]

    def _trust(self, part, scale):
        """Return the local learning rate, equation 6; 1 where there is no weight or no gradient yet."""
        if not part.adapts:
            return 1.0
        size = norm(optimizers.squares_of_weights, part.weights)
        change = norm(optimizers.squares_of_sums, part.sums) * scale + part.decay * size
        return self.config.trust_coefficient * size / change if size and change else 1.0


OPTIMIZERS = {each.name: each for each in (SGD, Nesterov, AdamW, Lars)}
