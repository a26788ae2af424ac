"""The mean of the weights over the steps so far: less noisy than the last ones, it often does better."""

from contextlib import contextmanager

from distcnn.kernels.float_mode import ieee_mode
from distcnn.kernels.optimizers import ema_update
from distcnn.numerics.portable_math import whole_power


class WeightEMA:
    """The weighted mean of flat weights after each step so far, those of k steps ago weighing decay**k.

    That is an exponential moving average without a bias towards its start (Kingma and Ba 2015, section 7.2). Running
    statistics are averaged alike. arrays: by name, the mean, float32 of the weights' size; none if decay is 0.
    """

    def __init__(self, weights, decay):
        self.weights, self.decay = weights, decay
        self.arrays = {"averages": weights.copy()} if decay else {}

    @property
    def result(self):
        """The weights to evaluate and to use: the means where they are kept."""
        return self.arrays.get("averages", self.weights)

    def update(self, step):
        """Take in the weights after step `step`, from 1."""
        if self.arrays:
            share = (1.0 - self.decay) / (1.0 - whole_power(self.decay, step))
            with ieee_mode():
                ema_update(self.result, self.weights, share)

    @contextmanager
    def in_use(self):
        """Have the result in the place of the weights inside the block."""
        weights = self.weights.copy()
        self.weights[:] = self.result
        try:
            yield
        finally:
            self.weights[:] = weights
