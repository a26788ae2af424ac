"""The settings of a run: one table, which the command line, TOML files and checkpoints all read."""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields, replace
from typing import Any

from distcnn.config.hints import value_hint
from distcnn.config.types import Augmentations, Blocks, Choice, Real, Type, Whole, Wholes, Word
from distcnn.errors import ConfigError

NUMERICS = 2  # raised whenever a change alters any bit of training

# What happens to a setting when a run is resumed.
FIXED = "fixed"  # it changes bits: another value is an error
SAVED = "saved"  # the run's value holds, unless another one is given
CALL = "call"  # it belongs to one call and is never saved


def optimizer_settings() -> dict[str, tuple[str, ...]]:
    """Return the settings that each optimizer reads, by the optimizer's name, as `kernels.optimizers` declares them."""
    from distcnn.kernels.optimizers import UPDATES  # here, as Numba takes long to import

    return {name: update.settings for name, update in UPDATES.items()}


FRACTION = Real(0.0, 1.0)
NONNEGATIVE = Real(0.0)
PATH = Word("PATH", "a path")
RESUME = Word("never|auto|FILE", "never, auto or a checkpoint")
OPTIMIZER = Choice(lambda: tuple(optimizer_settings()))
SCHEDULE = Choice(("constant", "cosine", "step", "one-cycle", "polynomial"))
DECAY = Choice(("all", "weights"))
NORMALIZE = Choice(("channel", "none"))
CONV = Choice(("winograd", "direct"))
REDUCTION = Choice(("exact", "float32"))
PROGRESS = Choice(("auto", "bar", "lines", "none"))

DECREASING = (
    "cosine",
    "one-cycle",
    "polynomial",
)  # the schedules that end at a fraction of the learning rate


def _setting(default: Any, kind: Type, text: str, resume: str = SAVED, schedule: tuple[str, ...] = ()) -> Any:
    """Return a field of Config.

    kind: the type of its values
    text: for the help
    resume: FIXED, SAVED or CALL
    schedule: the schedules without which the setting would do nothing; (): it needs none of them
    """
    only = {"schedule": schedule} if schedule else {}
    return field(default=default, metadata={"type": kind, "help": text, "resume": resume, "only": only})


@dataclass(frozen=True)
class Config:
    """All settings; the defaults train LeNet-5 on the embedded digits."""

    model: str = _setting("lenet5", Word("NAME", "a name"), "the network, by name", FIXED)
    data: str | None = _setting(None, PATH, "an HDF5 dataset; without it, the embedded digits")
    epochs: int = _setting(10, Whole(1), "passes over the training data")
    batch_size: int = _setting(128, Whole(1), "samples a step, over all ranks together", FIXED)

    learning_rate: float = _setting(0.03, NONNEGATIVE, "the highest learning rate", FIXED)
    schedule: str = _setting("cosine", SCHEDULE, "how the learning rate changes after the warmup", FIXED)
    warmup_epochs: float = _setting(2.0, NONNEGATIVE, "epochs in which the learning rate rises", FIXED)
    final_lr_fraction: float = _setting(
        0.0, FRACTION, "the last learning rate, as a fraction of the highest", FIXED, DECREASING
    )
    initial_lr_fraction: float = _setting(
        0.04, FRACTION, "the first learning rate, as a fraction of the highest", FIXED, ("one-cycle",)
    )
    power: float = _setting(1.0, NONNEGATIVE, "the exponent of the polynomial decay", FIXED, ("polynomial",))
    step_size: int | None = _setting(
        None, Whole(1), "epochs between drops of the learning rate", FIXED, ("step",)
    )
    milestones: tuple[int, ...] | None = _setting(
        None, Wholes(), "the finished epochs after which the learning rate drops", FIXED, ("step",)
    )
    gamma: float = _setting(
        0.1, FRACTION, "the factor by which a drop multiplies the learning rate", FIXED, ("step",)
    )

    optimizer: str = _setting("sgd", OPTIMIZER, "how gradients change weights", FIXED)
    momentum: float = _setting(0.9, FRACTION, "decay of the mean gradient per step; Adam's beta1", FIXED)
    beta2: float = _setting(0.999, FRACTION, "decay of the mean squared gradient per step", FIXED)
    epsilon: float = _setting(1e-8, Real(1e-12), "added to the root of the mean squared gradient", FIXED)
    trust_coefficient: float = _setting(
        0.001, NONNEGATIVE, "a step's length over its layer's norm, at a learning rate of 1", FIXED
    )
    weight_decay: float = _setting(
        0.0, NONNEGATIVE, "how fast weights shrink: through their gradients, under adamw directly", FIXED
    )
    decay: str = _setting("all", DECAY, "what decays; weights: no biases and no norms", FIXED)
    clip_norm: float = _setting(0.0, NONNEGATIVE, "the largest norm of all gradients; 0: no limit", FIXED)
    ema_decay: float = _setting(
        0.0, FRACTION, "decay per step of the mean weights, which are evaluated; 0: none", FIXED
    )
    label_smoothing: float = _setting(0.0, FRACTION, "the share of a target that all classes share", FIXED)

    seed: int = _setting(0, Whole(0, 2**63 - 1), "the number that all random choices follow from", FIXED)
    normalize: str = _setting("channel", NORMALIZE, "how images are normalized", FIXED)
    augment: str = _setting("none", Augmentations(), "how training images are distorted", FIXED)
    validation_split: float = _setting(
        0.0, FRACTION, "the fraction of the training split that is used for validation", FIXED
    )
    conv: str = _setting("winograd", CONV, "the algorithm for filters of 3 x 3, and five wide", FIXED)
    norm_group: int | str = _setting(1, Blocks(), "blocks that batch norms take statistics over", FIXED)
    reduction: str = _setting("exact", REDUCTION, "how ranks add their gradients", FIXED)

    out: str | None = _setting(None, PATH, "the run's folder; without it, a new runs/MODEL-DATA", CALL)
    resume: str = _setting("never", RESUME, "begin with the newest checkpoint (auto) or with this one", CALL)
    checkpoint_every: int = _setting(1000, Whole(0), "steps between checkpoints; 0: only at epoch ends")
    replica_check_every: int = _setting(
        100, Whole(0), "steps between comparisons of all ranks' weights; 0: when saving"
    )
    hang_timeout: float = _setting(1800.0, NONNEGATIVE, "seconds until a rank that hangs is ended; 0: never")
    keep_checkpoints: int = _setting(3, Whole(1), "how many checkpoints to keep, besides the best")
    threads: int = _setting(
        0, Whole(0, 1024), "blocks that a rank computes at once; 0: its share of the cores", CALL
    )
    max_steps: int | None = _setting(None, Whole(1), "stop after this many steps in total", CALL)
    max_time: float | None = _setting(
        None, NONNEGATIVE, "save and stop before so many seconds are over", CALL
    )
    progress: str = _setting("auto", PROGRESS, "what is shown", CALL)


SETTINGS: dict[str, Field] = {setting.name: setting for setting in fields(Config)}


@dataclass(frozen=True)
class Request:
    """What one call asks for."""

    config: Config
    given: frozenset[str] = frozenset()  # the settings that the call gives, by option or by file
    list_models: bool = False  # print the list of models instead of training


def option(name: str) -> str:
    """Return a setting's name as a command line writes it."""
    return "--" + name.replace("_", "-")


def kind(name: str) -> Type:
    """Return the type of a setting."""
    return SETTINGS[name].metadata["type"]


def needs(name: str) -> dict[str, tuple[str, ...]]:
    """Return the settings, with the values that they may have, without which this setting would do nothing.

    A setting that some optimizers read, but not all of them, needs one of these optimizers.
    """
    users = tuple(each for each, read in optimizer_settings().items() if name in read)
    if users and len(users) < len(OPTIMIZER.words):
        return SETTINGS[name].metadata["only"] | {"optimizer": users}
    return SETTINGS[name].metadata["only"]


def saved_settings(config: Config) -> dict[str, Any]:
    """Return the settings that describe a run, by name, without those that are None."""
    names = [name for name, setting in SETTINGS.items() if setting.metadata["resume"] != CALL]
    return {name: getattr(config, name) for name in names if getattr(config, name) is not None}


def resumed(request: Request, saved: Config) -> Config:
    """Return the settings of a run that is resumed: the saved ones, overridden by those that the request gives.

    Raises ConfigError when a given setting would change bits. `data` is compared by content, elsewhere.
    """
    given = [name for name in SETTINGS if name in request.given]
    for name in given:
        asked, had = getattr(request.config, name), getattr(saved, name)
        if SETTINGS[name].metadata["resume"] == FIXED and asked != had:
            raise ConfigError(
                f"{option(name)} {asked}: the run has {had}, another value would change its result; "
                f"leave the option out, or start anew in another --out"
            )
    of_this_call = [name for name in SETTINGS if SETTINGS[name].metadata["resume"] == CALL]
    return replace(saved, **{name: getattr(request.config, name) for name in given + of_this_call})


def validated(name: str, value: Any, where: str) -> Any:
    """Return a value as its setting's type. Raises ConfigError, which begins with `where`, if it is not valid."""
    try:
        valid = kind(name).validate(value)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
    if valid is None:
        message = f"{where}: {repr(value)[:100]} is not possible; wanted {kind(name).wanted}"
        raise ConfigError(message + value_hint(name, value, kind(name)))
    return valid
