"""The settings of a run: one table, from which the command line, TOML files and checkpoints are read."""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields, replace
from typing import Any

from distcnn.config import model_word
from distcnn.config.hints import value_hint
from distcnn.config.tasks import TASKS
from distcnn.config.tuning_types import ClassWeights, FrozenParameters
from distcnn.config.types import (
    AUTO,
    CLASSIFY,
    MODES,
    STREAM,
    Augmentations,
    Blocks,
    Choice,
    Flag,
    Layout,
    Real,
    Type,
    Whole,
    Wholes,
    Word,
    Words,
)
from distcnn.errors import ConfigError

# What happens to a setting when a run is resumed.
FIXED = "fixed"  # the setting changes bits: another value than the run's is an error
SAVED = "saved"  # the run's value is used, unless another one is given
CALL = "call"  # the setting belongs to one call of the command and is never saved


def optimizer_settings() -> dict[str, tuple[str, ...]]:
    """Return the settings that each optimizer reads, by its name, as `kernels.optimizers` declares them."""
    from distcnn.kernels.optimizers import UPDATES  # imported here, because Numba takes long to import

    return {name: update.settings for name, update in UPDATES.items()}


FRACTION = Real(0.0, 1.0)
NONNEGATIVE = Real(0.0)
PATH = Word("PATH", "a path of one line in UTF-8 (rename it, or name a link to it)")
MODEL = Word("NAME|FILE.txt|FILE.py:FUNCTION|MODULE:FUNCTION", "a network")
CODE = Word("FILE.py|MODULE", "a Python file or module")
FILES = Words("FILE", "a path of one line in UTF-8 (rename it, or name a link to it), or several")
ARRAYS = Words("[FILE:]/PATH", "paths of arrays, /images or FILE:/images, with rows as in /images[0:100]")
RESUME = Word("never|auto|FILE", "never, auto or a checkpoint")
OPTIMIZER = Choice(lambda: tuple(optimizer_settings()))
SCHEDULE = Choice(("constant", "cosine", "step", "one-cycle", "polynomial"))
DECAY = Choice(("all", "weights"))
NORMALIZE = Choice(("channel", "none"))
DATA_MODE = Choice(MODES)
TASK = Choice((AUTO, *TASKS))
CONV = Choice(("winograd", "direct"))
REDUCTION = Choice(("exact", "float32"))
PROGRESS = Choice(("auto", "bar", "lines", "none"))

# The tasks whose targets may be smoothed; AUTO, as long as the labels have not been looked at.
SMOOTHED = (AUTO, *(name for name, task in TASKS.items() if task.smooths))

# The schedules that end at a fraction of the learning rate.
DECREASING = ("cosine", "one-cycle", "polynomial")


def _setting(
    default: Any,
    kind: Type,
    text: str,
    resume: str = SAVED,
    schedule: tuple[str, ...] = (),
    data_mode: tuple[str, ...] = (),
    task: tuple[str, ...] = (),
) -> Any:
    """Return a field of Config.

    kind: the type of its values.
    text: the help text.
    resume: FIXED, SAVED or CALL.
    schedule: the schedules that read the setting; (): it does not depend on the schedule.
    data_mode: the values of `data_mode` with which it has an effect; (): with all.
    task: likewise of `task`.
    """
    needed = {"schedule": schedule, "data_mode": data_mode, "task": task}
    only = {name: words for name, words in needed.items() if words}
    return field(default=default, metadata={"type": kind, "help": text, "resume": resume, "only": only})


@dataclass(frozen=True)
class Config:
    """All settings of a run; the defaults train LeNet-5 on the embedded digits."""

    model: str = _setting("lenet5", MODEL, "the network", FIXED)
    layers: str | None = _setting(None, CODE, "your Python file or module that defines layers", CALL)
    data: str | tuple[str, ...] | None = _setting(
        None, FILES, "the HDF5 files of the dataset, or a quoted pattern; without it, the embedded digits"
    )
    images: str | tuple[str, ...] | None = _setting(
        None, ARRAYS, "the training images; without it, found by name"
    )
    labels: str | tuple[str, ...] | None = _setting(None, ARRAYS, "the training labels")
    test_images: str | tuple[str, ...] | None = _setting(None, ARRAYS, "the test images")
    test_labels: str | tuple[str, ...] | None = _setting(None, ARRAYS, "the test labels")
    validation_images: str | tuple[str, ...] | None = _setting(None, ARRAYS, "the validation images")
    validation_labels: str | tuple[str, ...] | None = _setting(None, ARRAYS, "the validation labels")
    layout: str | None = _setting(None, Layout(), "the axes of the images as they are stored, such as NHWC")
    map_labels: bool = _setting(
        False, Flag(), "make a class of each value of the labels", task=(AUTO, CLASSIFY)
    )
    task: str = _setting(AUTO, TASK, "what the net learns: auto follows from the labels", FIXED)
    data_mode: str = _setting(
        AUTO, DATA_MODE, "where images are: auto streams those of more than 4 GiB from the file", FIXED
    )
    window: int = _setting(
        2**27, Whole(1, 2**40), "bytes that are shuffled together, over all ranks", FIXED, (), (AUTO, STREAM)
    )
    epochs: int = _setting(10, Whole(1), "passes over the training data")
    batch_size: int = _setting(128, Whole(1), "samples of a step, over all ranks together", FIXED)

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
        0.001, NONNEGATIVE, "norm of a step over norm of the weights, at a learning rate of 1", FIXED
    )
    weight_decay: float = _setting(
        0.0, NONNEGATIVE, "decay of weights, added to gradients; under adamw decoupled", FIXED
    )
    decay: str = _setting("all", DECAY, "the parameters that decay; weights: neither biases nor norms", FIXED)
    clip_norm: float = _setting(0.0, NONNEGATIVE, "the largest norm of all gradients; 0: no limit", FIXED)
    ema_decay: float = _setting(
        0.0, FRACTION, "decay per step of the EMA of weights, which is evaluated; 0: no EMA", FIXED
    )
    label_smoothing: float = _setting(
        0.0, FRACTION, "the share of a target that all classes share", FIXED, task=SMOOTHED
    )
    class_weight: str | tuple[float, ...] | None = _setting(
        None,
        ClassWeights(),
        "the weight of each class in the loss; balanced: the rarer, the more",
        FIXED,
        task=(AUTO, CLASSIFY),
    )
    init_from: str | None = _setting(
        None, PATH, "begin with the weights of this checkpoint, run or safetensors file", FIXED
    )
    freeze: int | tuple[str, ...] | None = _setting(
        None, FrozenParameters(), "leave the first N layers, or these parameters, as they are", FIXED
    )
    patience: int | None = _setting(
        None, Whole(1), "stop after so many epochs without a better validation result"
    )

    seed: int = _setting(0, Whole(0, 2**63 - 1), "the seed of all random numbers", FIXED)
    normalize: str = _setting("channel", NORMALIZE, "how images are normalized", FIXED)
    augment: str = _setting("none", Augmentations(), "how training images are distorted", FIXED)
    validation_split: float = _setting(
        0.0, FRACTION, "the fraction of the training split that is used for validation", FIXED
    )
    test_split: float = _setting(
        0.0, FRACTION, "the fraction of the training split that is used for testing", FIXED
    )
    conv: str = _setting("winograd", CONV, "the algorithm for filters of 3 x 3 and of width 5", FIXED)
    norm_group: int | str = _setting(
        1, Blocks(), "how many blocks of 16 samples share batch norm statistics", FIXED
    )
    reduction: str = _setting("exact", REDUCTION, "how ranks add up gradients", FIXED)

    out: str | None = _setting(None, PATH, "the run's folder; without it, a new runs/MODEL-DATA", CALL)
    resume: str = _setting("never", RESUME, "start from the newest checkpoint (auto) or from this one", CALL)
    checkpoint_every: int = _setting(1000, Whole(0), "steps between checkpoints; 0: only at epoch ends")
    replica_check_every: int = _setting(
        100, Whole(0), "steps between comparisons of all ranks' weights; 0: only when saving"
    )
    hang_timeout: float = _setting(
        1800.0, NONNEGATIVE, "seconds after which a rank that hangs is killed; 0: never"
    )
    keep_checkpoints: int = _setting(
        3, Whole(1), "how many of the newest checkpoints to keep, besides the best"
    )
    threads: int = _setting(0, Whole(0, 1024), "threads of each rank; 0: its share of the cores", CALL)
    max_steps: int | None = _setting(None, Whole(1), "stop after this many steps in total", CALL)
    max_time: float | None = _setting(
        None, NONNEGATIVE, "save and stop before so many seconds have passed", CALL
    )
    progress: str = _setting("auto", PROGRESS, "how progress is shown", CALL)


SETTINGS: dict[str, Field] = {setting.name: setting for setting in fields(Config)}


@dataclass(frozen=True)
class Request:
    """The contents of a command line of training."""

    config: Config
    given: frozenset[str] = frozenset()  # the names of the settings that are given, by option or by file
    list_models: bool = False  # whether to print the table of models instead of training
    summary: bool = False  # whether to print a table of the network instead of training


def option(name: str) -> str:
    """Return the option of a setting, such as --batch-size."""
    return "--" + name.replace("_", "-")


def kind(name: str) -> Type:
    """Return the type of a setting."""
    return SETTINGS[name].metadata["type"]


def needs(name: str) -> dict[str, tuple[str, ...]]:
    """Return the values of other settings that this setting needs to have an effect, by the names of these settings.

    A setting that only some optimizers read needs one of these optimizers.
    """
    users = tuple(each for each, read in optimizer_settings().items() if name in read)
    if users and len(users) < len(OPTIMIZER.words):
        return SETTINGS[name].metadata["only"] | {"optimizer": users}
    return SETTINGS[name].metadata["only"]


def saved_settings(config: Config) -> dict[str, Any]:
    """Return the settings to be saved with a run, by name, without those that are None or False."""
    names = [name for name, setting in SETTINGS.items() if setting.metadata["resume"] != CALL]
    values = {name: getattr(config, name) for name in names}
    return {name: value for name, value in values.items() if value is not None and value is not False}


def resumed(request: Request, saved: Config) -> Config:
    """Return the settings of a resumed run: the saved settings, overridden by those that the request gives.

    Raises ConfigError if a given setting would change bits. `data` is compared by content, when it is loaded.
    """
    given = [name for name in SETTINGS if name in request.given and not _leaves_open(request.config, name)]
    for name in given:
        asked, found = getattr(request.config, name), getattr(saved, name)
        if name == "model":
            asked = model_word.parse(asked).absolute  # as runs save it
        if SETTINGS[name].metadata["resume"] == FIXED and asked != found:
            raise ConfigError(
                f"{option(name)} {asked}: the run has {found}, and another value would change its result; "
                f"leave the option out, or start a new run in another folder (--out)"
            )
    of_this_call = [name for name in SETTINGS if SETTINGS[name].metadata["resume"] == CALL]
    return replace(saved, **{name: getattr(request.config, name) for name in given + of_this_call})


def _leaves_open(config: Config, name: str) -> bool:
    """Return whether a setting that changes bits is given as AUTO, so that the run's value stands."""
    return SETTINGS[name].metadata["resume"] == FIXED and getattr(config, name) == AUTO


def validated(name: str, value: Any, where: str) -> Any:
    """Return a value converted to its setting's type. Raises ConfigError if it is not valid.

    name: of the setting.
    value: as it was given.
    where: the source of the value, which begins the error message.
    """
    try:
        valid = kind(name).validate(value)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
    if valid is None:
        message = f"{where}: {repr(value)[:100]} is not valid; wanted {kind(name).wanted}"
        raise ConfigError(message + value_hint(name, value, kind(name)))
    return valid
