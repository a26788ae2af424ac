"""The learning rate as a function of the step, from products and sums alone, for libm differs between machines.

To add a schedule: a function here and in `SCHEDULES`, and its name among the choices in `distcnn.config.settings`.
"""

from __future__ import annotations

from collections.abc import Callable

from distcnn.config.settings import Config
from distcnn.numerics.portable_math import half_cosine, power, whole_power


def learning_rate(config: Config, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of `step`, from 0, by `config.schedule`.

    It rises linearly over `config.warmup_epochs` and then follows the schedule up to the end of `config.epochs`; the
    epochs that "step" counts are all epochs, from the beginning. "one-cycle" has a rise of its own.
    """
    warmup, total = config.warmup_epochs * steps_per_epoch, config.epochs * steps_per_epoch
    if config.schedule == "one-cycle":
        return config.learning_rate * _one_cycle(config, step, warmup, total)
    if step < warmup:
        return config.learning_rate * min(1.0, (step + 1) / warmup)
    done = (step - warmup) / max(total - warmup, 1)
    return config.learning_rate * SCHEDULES[config.schedule](config, done, step / steps_per_epoch)


# done: the fraction of the steps after the warmup that is done, 0 to 1. epoch: the finished epochs.


def _constant(config, done, epoch):
    """Stay the same."""
    return 1.0


def _cosine(config, done, epoch):
    """Fall along half a cosine (Loshchilov and Hutter 2017, equation 5, without restarts)."""
    return _between(config.final_lr_fraction, half_cosine(done))


def _polynomial(config, done, epoch):
    """Fall as a power of the fraction of the steps that is left."""
    return _between(config.final_lr_fraction, power(max(1.0 - done, 0.0), config.power))


def _step(config, done, epoch):
    """Drop by a factor: every `step_size` epochs, or at the `milestones`."""
    drops = epoch // config.step_size if config.step_size else sum(at <= epoch for at in config.milestones)
    return whole_power(config.gamma, int(drops))


SCHEDULES: dict[str, Callable[[Config, float, float], float]] = {
    "constant": _constant,
    "cosine": _cosine,
    "polynomial": _polynomial,
    "step": _step,
}


def _one_cycle(config, step, warmup, total):
    """Rise along half a cosine during the warmup, then fall along another (Smith and Topin 2018, as in PyTorch)."""
    peak, last = max(warmup - 1, 0), total - 1
    if step <= peak:
        return _between(config.initial_lr_fraction, 1.0 - half_cosine(step / peak) if peak else 1.0)
    return _between(config.final_lr_fraction, half_cosine((step - peak) / (last - peak)))


def _between(fraction, height):
    """Return what lies at `height`, 0 to 1, between a fraction of the learning rate and all of it."""
    return fraction + (1.0 - fraction) * height
