"""The settings of a run: one table, read alike by the command line, by TOML files and by checkpoints."""

import argparse
import difflib
import pathlib
from dataclasses import dataclass, field, fields, replace

from distcnn.config.parser import Parser
from distcnn.config.types import Augmentations, Blocks, Choice, Real, Whole, Wholes, Word
from distcnn.errors import ConfigError

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

NUMERICS = 2  # raised whenever a change alters any bit of training

# What becomes of a setting when a run is resumed.
FIXED = "fixed"  # it changes bits: another value is an error
SAVED = "saved"  # kept, unless given anew
CALL = "call"  # belongs to one call, is never saved

PATH = Word("PATH", "a path")
OPTIMIZER = Choice(("sgd", "nesterov", "adamw", "lars"))
SCHEDULE = Choice(("constant", "cosine", "step", "one-cycle", "polynomial"))
RESUME = Word("never|auto|FILE", "never, auto or a checkpoint")


def _setting(default, domain, text, kept=SAVED, **only):
    """Return a field; only: the other setting, and its values, without which this one would do nothing."""
    return field(default=default, metadata={"domain": domain, "help": text, "kept": kept, "only": only})


@dataclass(frozen=True)
class Config:
    """All settings; the defaults train LeNet-5 on the embedded digits."""

    model: str = _setting("lenet5", Word("NAME", "a name"), "the network, by name", FIXED)
    data: str | None = _setting(None, PATH, "an HDF5 dataset; without it, the embedded digits")
    epochs: int = _setting(10, Whole(1), "passes over the training data")
    batch_size: int = _setting(128, Whole(1), "samples a step, over all ranks together", FIXED)
    learning_rate: float = _setting(0.03, Real(0.0), "the learning rate at its highest", FIXED)
    schedule: str = _setting("cosine", SCHEDULE, "how the learning rate goes on", FIXED)
    warmup_epochs: float = _setting(2.0, Real(0.0), "epochs in which the learning rate rises", FIXED)
    final_lr_fraction: float = _setting(
        0.0,
        Real(0.0, 1.0),
        "the part of the learning rate that is left at the end",
        FIXED,
        schedule=("cosine", "one-cycle", "polynomial"),
    )
    initial_lr_fraction: float = _setting(
        0.04, Real(0.0, 1.0), "the part of the learning rate to rise from", FIXED, schedule=("one-cycle",)
    )
    power: float = _setting(
        1.0, Real(0.0), "the exponent of the polynomial decay", FIXED, schedule=("polynomial",)
    )
    step_size: int | None = _setting(
        None, Whole(1), "epochs between drops of the learning rate", FIXED, schedule=("step",)
    )
    milestones: tuple[int, ...] | None = _setting(
        None, Wholes(), "the finished epochs after which the learning rate drops", FIXED, schedule=("step",)
    )
    gamma: float = _setting(
        0.1, Real(0.0, 1.0), "the part of the learning rate that a drop leaves", FIXED, schedule=("step",)
    )
    optimizer: str = _setting("sgd", OPTIMIZER, "how gradients move weights", FIXED)
    momentum: float = _setting(0.9, Real(0.0, 1.0), "the part of the mean gradient that a step keeps", FIXED)
    beta2: float = _setting(
        0.999, Real(0.0, 1.0), "the part of the mean square that a step keeps", FIXED, optimizer=("adamw",)
    )
    epsilon: float = _setting(
        1e-8, Real(1e-12), "what is added to the root of the mean square", FIXED, optimizer=("adamw",)
    )
    trust_coefficient: float = _setting(
        0.001,
        Real(0.0),
        "a step's length over its layer's norm, at a learning rate of 1",
        FIXED,
        optimizer=("lars",),
    )
    weight_decay: float = _setting(
        0.0,
        Real(0.0),
        "how strongly parameters shrink: through their gradients, under adamw apart from them",
        FIXED,
    )
    decay: str = _setting(
        "all", Choice(("all", "weights")), "what decays; weights: no biases, no norms", FIXED
    )
    clip_norm: float = _setting(0.0, Real(0.0), "the norm that gradients are cut down to; 0: none", FIXED)
    ema_decay: float = _setting(
        0.0,
        Real(0.0, 1.0),
        "the part that a step keeps of the mean weights, which are evaluated; 0: none",
        FIXED,
    )
    label_smoothing: float = _setting(
        0.0, Real(0.0, 1.0), "the part of a target that all classes share", FIXED
    )
    seed: int = _setting(0, Whole(0, 2**63 - 1), "the number that all random choices follow from", FIXED)
    normalize: str = _setting("channel", Choice(("channel", "none")), "how images are normalised", FIXED)
    augment: str = _setting("none", Augmentations(), "how training images are distorted", FIXED)
    validation_split: float = _setting(
        0.0, Real(0.0, 1.0), "the fraction of the training part to judge by", FIXED
    )
    conv: str = _setting(
        "winograd", Choice(("winograd", "direct")), "the algorithm for filters of 3 x 3, and five wide", FIXED
    )
    norm_group: int | str = _setting(1, Blocks(), "blocks that batch norms take statistics over", FIXED)
    reduction: str = _setting("exact", Choice(("exact", "float32")), "how ranks add their gradients", FIXED)
    out: str | None = _setting(None, PATH, "the run's folder; without it, a fresh runs/MODEL-DATA", CALL)
    resume: str = _setting("never", RESUME, "begin with the newest checkpoint (auto) or with this one", CALL)
    checkpoint_every: int = _setting(1000, Whole(0), "steps between checkpoints; 0: only at epoch ends")
    replica_check_every: int = _setting(
        100, Whole(0), "steps between comparisons of all ranks' weights; 0: when saving"
    )
    hang_timeout: float = _setting(
        1800.0, Real(0.0), "seconds after which a rank that hangs is ended; 0: never"
    )
    keep_checkpoints: int = _setting(3, Whole(1), "checkpoints that are kept, beside the best")
    threads: int = _setting(
        0, Whole(0, 1024), "blocks that a rank computes side by side; 0: its share of the cores", CALL
    )
    max_steps: int | None = _setting(None, Whole(1), "stop after this many steps in total", CALL)
    max_time: float | None = _setting(None, Real(0.0), "save and stop before so many seconds are over", CALL)
    progress: str = _setting("auto", Choice(("auto", "bar", "lines", "none")), "what is shown", CALL)


SETTINGS = {setting.name: setting for setting in fields(Config)}


@dataclass(frozen=True)
class Request:
    """What one call asks for; `given` names the settings that it set itself, by option or file."""

    config: Config
    given: frozenset[str] = frozenset()
    list_models: bool = False  # of the models, instead of a run


def parse(argv, prog):
    """Return the Request of a command line, whose options win over the file that `--config` names."""
    parser = Parser(prog, usage="%(prog)s [options]", argument_default=argparse.SUPPRESS)
    parser.epilog = "In the TOML file --batch-size 64 reads batch_size = 64. Defaults stand in brackets."
    parser.add_argument("--version", action="version", version=_version())
    parser.add_argument(
        "--config", metavar="FILE", help="take settings from a TOML file; options win over it"
    )
    parser.add_argument("--list-models", action="store_true", help="list the models, and do nothing else")
    for name, setting in SETTINGS.items():
        parser.add_argument(option(name), metavar=_domain(setting).placeholder, help=_help(setting))
    found, unknown = parser.parse_known_args(argv)
    if unknown:
        near = suggestion(unknown[0].split("=")[0], ["--config", "--list-models", *map(option, SETTINGS)])
        raise ConfigError(f"unknown option {unknown[0]!r}{near or '; see --help'}")
    words = vars(found)
    list_models = words.pop("list_models", False)
    given = _read_file(words.pop("config")) if "config" in words else {}
    for name, word in words.items():
        given[name] = _checked(name, _domain(SETTINGS[name]).parse(word), option(name))
    return Request(Config(**given), frozenset(given), list_models)


def to_toml(config):
    """Return the text of config.toml: all settings that describe the run, except those that are None."""
    import tomli_w

    saved = {name: getattr(config, name) for name, setting in SETTINGS.items() if _kept(setting) != CALL}
    return tomli_w.dumps({"numerics": NUMERICS} | {name: x for name, x in saved.items() if x is not None})


def from_toml(text, where):
    """Return the Config that a checkpoint or file named `where` holds; the caller compares the numerics."""
    return Config(**_settings(_table(text, where), where))


def resumed(request, saved):
    """Return the settings to go on with: the saved ones, overridden by what was given.

    Raises ConfigError when a given setting would change bits. `data` is compared by content, elsewhere.
    """
    for name in SETTINGS:
        asked, had = getattr(request.config, name), getattr(saved, name)
        if _kept(SETTINGS[name]) == FIXED and name in request.given and asked != had:
            raise ConfigError(
                f"{option(name)} {asked}: the run has {had}, another value would change its result; "
                f"leave the option out, or start anew in another --out"
            )
    ours = [name for name in SETTINGS if name in request.given or _kept(SETTINGS[name]) == CALL]
    return replace(saved, **{name: getattr(request.config, name) for name in ours})


def suggestion(word, known):
    """Return ", did you mean …?" when one of the known words is near, otherwise an empty string."""
    near = difflib.get_close_matches(word, known, n=1)
    return f", did you mean {near[0]}?" if near else ""


def _version():
    from distcnn import __version__

    return f"distcnn {__version__}, numerics {NUMERICS}"


def _domain(setting):
    return setting.metadata["domain"]


def _kept(setting):
    return setting.metadata["kept"]


def option(name):
    """Return a setting's name as a command line spells it."""
    return "--" + name.replace("_", "-")


def _help(setting):
    belongs = "".join(
        f"{option(name)} {'|'.join(values)}: " for name, values in setting.metadata["only"].items()
    )
    return belongs + setting.metadata["help"] + ("" if setting.default is None else f" [{setting.default}]")


def _read_file(name):
    """Return the settings in a --config file; it must be of this version's numerics if it names any."""
    try:
        text = pathlib.Path(name).read_bytes().decode()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise ConfigError(f"--config {name}: {reason}; wanted a TOML file of settings") from None
    table = _table(text, name)
    found = table.get("numerics", NUMERICS)
    if type(found) is not int or found != NUMERICS:
        raise ConfigError(
            f"{name}: numerics {table['numerics']}, but this is numerics {NUMERICS}, which gives other bits; "
            f"remove the line to accept them, or use the version that wrote the file"
        )
    return _settings(table, name)


def _table(text, where):
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not TOML: {str(error)[:100]!r}") from None


def _settings(table, where):
    """Return the table's settings, each checked; `numerics` is not one of them."""
    table = _modern(table)
    for key in table:
        if key not in SETTINGS and key != "numerics":
            raise ConfigError(f"{where}: unknown key {key!r}{suggestion(key, SETTINGS)}")
    return {key: _checked(key, table[key], f"{where}: {key}") for key in table if key in SETTINGS}


# Keys and values of early versions, which checkpoints and config files may hold.
OLD_KEYS = {
    "average": "ema_decay",
    "compare_every": "replica_check_every",
    "drop_at": "milestones",
    "drop_every": "step_size",
    "drop_factor": "gamma",
    "end_fraction": "final_lr_fraction",
    "keep": "keep_checkpoints",
    "normalise": "normalize",
    "optimiser": "optimizer",
    "patience": "hang_timeout",
    "start_fraction": "initial_lr_fraction",
    "validation": "validation_split",
}
OLD_VALUES = {("optimizer", "momentum"): "sgd", ("optimizer", "adam"): "adamw"}


def _modern(table):
    """Return a table of settings with today's keys and values in the place of those of early versions."""
    renamed = {OLD_KEYS.get(key, key): value for key, value in table.items()}
    return {
        key: OLD_VALUES.get((key, value), value) if isinstance(value, str) else value
        for key, value in renamed.items()
    }


def _checked(name, value, where):
    """Return the value as the setting's type, or raise ConfigError."""
    domain = _domain(SETTINGS[name])
    try:
        validate = domain.validate(value)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
    if validate is None:
        raise ConfigError(f"{where}: {repr(value)[:100]} is not possible; wanted {domain.wanted}")
    return validate
