"""The learning rate as a function of the step, computed only by products and sums, as libm differs between machines.

To add a schedule, add a function to this module and to `SCHEDULES`, and its name to the choices in
`distcnn.config.settings`.
"""

from __future__ import annotations

from collections.abc import Callable

from distcnn.config.settings import Config
from distcnn.numerics.portable_math import half_cosine, power, whole_power


def learning_rate(config: Config, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of step `step`, which counts from 0.

    The rate rises linearly over `config.warmup_epochs` and then follows `config.schedule` to the end of
    `config.epochs`. The schedule "step" counts epochs from the beginning, those of the warmup included.
    "one-cycle" has a warmup of its own.
    """
    warmup, total = config.warmup_epochs * steps_per_epoch, config.epochs * steps_per_epoch
    if config.schedule == "one-cycle":
        return config.learning_rate * _one_cycle(config, step, warmup, total)
    if step < warmup:
        return config.learning_rate * min(1.0, (step + 1) / warmup)
    done = (step - warmup) / max(total - warmup, 1)
    return config.learning_rate * SCHEDULES[config.schedule](config, done, step / steps_per_epoch)


# Each schedule returns a factor of the learning rate, from
# done: the finished fraction of the steps after the warmup, 0 to 1;
# epoch: the number of finished epochs, with fractions.


def _constant(config: Config, done: float, epoch: float) -> float:
    """Return 1."""
    return 1.0


def _cosine(config: Config, done: float, epoch: float) -> float:
    """Return a factor that falls along half a cosine (Loshchilov and Hutter 2017, equation 5, without restarts)."""
    return _between(config.final_lr_fraction, half_cosine(done))


def _polynomial(config: Config, done: float, epoch: float) -> float:
    """Return a factor that falls as a power of the remaining fraction of the steps."""
    return _between(config.final_lr_fraction, power(max(1.0 - done, 0.0), config.power))


def _step(config: Config, done: float, epoch: float) -> float:
    """Return a factor that drops every `step_size` epochs, or at the `milestones`."""
    if config.step_size:
        drops = epoch // config.step_size
    else:
        drops = sum(milestone <= epoch for milestone in config.milestones or ())
    return whole_power(config.gamma, int(drops))


SCHEDULES: dict[str, Callable[[Config, float, float], float]] = {
    "constant": _constant,
    "cosine": _cosine,
    "polynomial": _polynomial,
    "step": _step,
}


def _one_cycle(config: Config, step: int, warmup: float, total: int) -> float:
    """Return a factor that rises and falls along half cosines (Smith and Topin 2018, as in PyTorch).

    step: from 0.
    warmup: the number of steps in which the factor rises.
    total: the number of all steps.
    """
    peak, last = max(warmup - 1, 0), total - 1
    if step <= peak:
        return _between(config.initial_lr_fraction, 1.0 - half_cosine(step / peak) if peak else 1.0)
    return _between(config.final_lr_fraction, half_cosine((step - peak) / (last - peak)))


def _between(fraction: float, height: float) -> float:
    """Interpolate linearly between `fraction`, at height 0, and 1, at height 1."""
    return fraction + (1.0 - fraction) * height
