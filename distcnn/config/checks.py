"""Settings that do not go together: one that would do nothing is a misunderstanding, told before anything begins."""

from distcnn.config.settings import SETTINGS, option
from distcnn.config.types import GLOBAL
from distcnn.errors import ConfigError
from distcnn.lanes import LANES


def check_consistency(config):
    """Raise ConfigError if a setting would do nothing beside the others, or contradicts them."""
    idle = (_idle(config, name) for name in SETTINGS)
    words = next(filter(None, idle), None) or _contradiction(config)
    if words:
        raise ConfigError(words)


def _idle(config, name):
    """Return words on a setting that does nothing for want of another, or None."""
    setting, value = SETTINGS[name], getattr(config, name)
    for other, wanted in setting.metadata["only"].items():
        if value != setting.default and getattr(config, other) not in wanted:
            return (
                f"{option(name)} does nothing with {option(other)} {getattr(config, other)}: leave it out, or use "
                f"{option(other)} {' or '.join(wanted)}"
            )
    return None


def _contradiction(config):
    """Return words on settings that contradict each other, or None."""
    if config.schedule == "step" and (config.step_size is None) == (config.milestones is None):
        return "--schedule step: wanted either --step-size or --milestones"
    if config.schedule == "one-cycle" and config.warmup_epochs >= config.epochs:
        return (
            f"--schedule one-cycle: --warmup-epochs {config.warmup_epochs:g} leave none of {config.epochs} epochs to "
            f"fall; wanted fewer"
        )
    if config.optimizer == "nesterov" and not config.momentum:
        return "--optimizer nesterov with --momentum 0 looks nowhere ahead: raise one, or leave out the other"
    blocks = -(-config.batch_size // LANES)
    if config.norm_group != GLOBAL and config.norm_group > blocks:
        return (
            f"--norm-group {config.norm_group}: a batch of {config.batch_size} has {blocks} blocks of {LANES} "
            f"samples; wanted at most {blocks}, or {GLOBAL}"
        )
    if config.decay != "all" and not config.weight_decay:
        return f"--decay {config.decay}: nothing decays without --weight-decay"
    return None
