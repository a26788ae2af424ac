"""Checks of the consistency of settings: one that has no effect is a user's mistake, reported before training."""

from __future__ import annotations

from distcnn.config.settings import SETTINGS, Config, needs, option
from distcnn.config.types import AUTO, GLOBAL
from distcnn.errors import ConfigError
from distcnn.lanes import LANES
from distcnn.system.counts import counted

TASK = "task"  # the setting that nobody can choose: labels are for the one that they show


def check_consistency(config: Config, asked: Config | None = None) -> None:
    """Raise ConfigError if a setting has no effect together with the other settings, or contradicts them.

    asked: the settings before what is AUTO there was found in the data; None: nothing was.
    """
    idle = (_idle(config, asked or config, name) for name in SETTINGS)
    message = next(filter(None, idle), None) or _contradiction(config)
    if message:
        raise ConfigError(message)


def _idle(config: Config, asked: Config, name: str) -> str | None:
    """Return a message if a setting has no effect together with the other settings, otherwise None.

    asked: as in `check_consistency`.
    """
    if getattr(config, name) == SETTINGS[name].default:
        return None
    for other, wanted in needs(name).items():
        if (value := getattr(config, other)) not in wanted:
            is_found = getattr(asked, other) != value
            found = (
                f"{option(name)} does nothing with {option(other)} {value}{', as the data show' * is_found}"
            )
            words = [word for word in wanted if word != AUTO or not is_found]
            others = f", or use {option(other)} {' or '.join(words)}" * (not is_found or other != TASK)
            return f"{found}: leave it out{others}"
    return None


def _contradiction(config: Config) -> str | None:
    """Return a message if settings contradict each other, otherwise None."""
    if config.schedule == "step" and (config.step_size is None) == (config.milestones is None):
        return "--schedule step: needs either --step-size or --milestones"
    if config.schedule == "one-cycle" and config.warmup_epochs >= config.epochs:
        found = (
            f"--warmup-epochs {config.warmup_epochs:g} leaves none of the {counted(config.epochs, 'epoch')}"
        )
        return f"--schedule one-cycle: {found} for the decrease; wanted fewer"
    if config.optimizer == "nesterov" and not config.momentum:
        return (
            "--optimizer nesterov with --momentum 0 is plain gradient descent: raise --momentum, or use sgd"
        )
    blocks = -(-config.batch_size // LANES)
    if isinstance(config.norm_group, int) and config.norm_group > blocks:
        return (
            f"--norm-group {config.norm_group}: a batch of {config.batch_size} has {counted(blocks, 'block')} of "
            f"{LANES} samples; wanted at most {blocks}, or {GLOBAL}"
        )
    if config.decay != "all" and not config.weight_decay:
        return f"--decay {config.decay}: nothing decays without --weight-decay"
    return None
