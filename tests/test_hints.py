"""Names from elsewhere: both spellings work, old keys are read, other libraries' names get the right hint."""

import re
from dataclasses import fields, replace

import pytest

from distcnn import launch, predict
from distcnn.config.foreign_names import ADVICE, OTHER_VALUES, SAME
from distcnn.config.hints import key_hint, option_hint, value_hint
from distcnn.config.old_names import OLD_KEYS, OLD_VALUES, REUSED_KEYS, american
from distcnn.config.parser import parse
from distcnn.config.settings import SCHEDULE, SETTINGS, Config, kind, needs, optimizer_settings, option
from distcnn.config.toml import from_toml
from distcnn.errors import ConfigError
from distcnn.kernels.optimizers import UPDATES
from distcnn.training import schedule
from distcnn.training.optimizers import OPTIMIZERS

OPTIONS = ["--config", "--list-models", "--version", "--help", *map(option, SETTINGS)]
OTHERS = ["--split", "--max-restarts", "-n"]  # options of evaluate and predict, and of launch


def complaint(function, *args):
    """Return the one line with which the call is refused."""
    with pytest.raises(ConfigError) as caught:
        function(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("argv", "name", "value"),
    [
        (["--optimiser", "lars"], "optimizer", "lars"),
        (["--optimizer=lars"], "optimizer", "lars"),
        (["--optimiser=lars"], "optimizer", "lars"),
        (["--normalise", "none"], "normalize", "none"),
    ],
)
def test_both_spellings_are_options(argv, name, value):
    request = parse(argv, "prog")
    assert getattr(request.config, name) == value
    assert request.given == {name}


def test_two_spellings_are_the_same_option():
    assert "given twice" in complaint(parse, ["--optimiser", "sgd", "--optimizer", "sgd"], "prog")


def test_american_spelling():
    words = "optimiser normalise normalisation initialise grey-scale noise-size promise raise"
    found = "optimizer normalize normalization initialize gray-scale noise-size promise raise"
    assert [american(word) for word in words.split()] == found.split()


def test_both_spellings_and_old_keys_and_values_are_read(tmp_path):
    text = "optimiser = 'adam'\nnormalise = 'none'\naverage = 0.5\npatience = 3\ndrop_at = [2, 4]\nkeep = 7\n"
    old = {"ema_decay": 0.5, "hang_timeout": 3.0, "milestones": (2, 4), "keep_checkpoints": 7}
    wanted = Config(optimizer="adamw", normalize="none", **old)
    assert from_toml(text, "checkpoint") == replace(wanted, task="classify")  # what older runs have trained
    (tmp_path / "x.toml").write_text(text)
    request = parse(["--config", str(tmp_path / "x.toml")], "prog")
    assert request.config == wanted
    assert request.given == {
        name.name for name in fields(Config) if getattr(wanted, name.name) != name.default
    }


def test_patience_was_the_timeout_of_hangs():
    """An early version wrote its seconds with a fraction, and other keys that are gone."""
    assert from_toml("patience = 1800.0", "x.toml") == Config(hang_timeout=1800.0, task="classify")
    assert from_toml("patience = 5\nhang_timeout = 60.0", "x.toml") == Config(
        patience=5, hang_timeout=60.0, task="classify"
    )
    assert from_toml("patience = 5", "x.toml") == Config(patience=5, task="classify")
    assert "'patience' are the same setting" in complaint(
        from_toml, "hang_timeout = 1\npatience = 1.0", "x.toml"
    )


def test_every_old_key_is_a_setting_now():
    assert set((OLD_KEYS | REUSED_KEYS).values()) <= set(SETTINGS)
    assert set(REUSED_KEYS) <= set(SETTINGS)
    assert not set(OLD_KEYS) & set(SETTINGS)
    for name, values in OLD_VALUES.items():
        assert all(kind(name).validate(new) == new for new in values.values())
        assert all(kind(name).validate(old) is None for old in values)


def test_a_setting_is_not_read_under_two_names():
    line = complaint(from_toml, "optimiser = 'sgd'\noptimizer = 'lars'", "x.toml")
    assert "'optimiser' and 'optimizer' are the same setting" in line
    assert "'keep_checkpoints' and 'keep'" in complaint(from_toml, "keep_checkpoints = 1\nkeep = 2", "x.toml")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        # names of early versions
        ("--average", "did you mean --ema-decay?"),
        ("--compare-every", "did you mean --replica-check-every?"),
        ("--drop-at", "did you mean --milestones?"),
        ("--drop-every", "did you mean --step-size?"),
        ("--drop-factor", "did you mean --gamma?"),
        ("--end-fraction", "did you mean --final-lr-fraction?"),
        ("--start-fraction", "did you mean --initial-lr-fraction?"),
        ("--keep", "did you mean --keep-checkpoints?"),
        ("--list", "did you mean --list-models?"),
        ("--validation", "did you mean --validation-split?"),
        # names of other libraries
        ("--lr", "did you mean --learning-rate?"),
        ("--lr=0.1", "did you mean --learning-rate?"),
        ("-b", "did you mean --batch-size?"),
        ("--batch", "did you mean --batch-size?"),
        ("--bs", "did you mean --batch-size?"),
        ("--batch_size", "did you mean --batch-size?"),
        ("--wd", "did you mean --weight-decay?"),
        ("--mom", "did you mean --momentum?"),
        ("--opt", "did you mean --optimizer?"),
        ("--sched", "did you mean --schedule?"),
        ("--lr-scheduler", "did you mean --schedule?"),
        ("--max_epochs", "did you mean --epochs?"),
        ("--max-grad-norm", "did you mean --clip-norm?"),
        ("--save-dir", "did you mean --out?"),
        ("--output", "did you mean --out?"),
        ("--train-dir", "did you mean --data?"),
        ("--val-split", "did you mean --validation-split?"),
        ("--workers", "there is none, because every rank reads"),
        ("--num-workers", "there is none, because every rank reads"),
        ("--device", "there is none, because distcnn computes on CPUs"),
        ("--gpus", "there is none, because distcnn computes on CPUs"),
        ("--loss", "there is none, because the loss is"),
        ("--early-stopping", "did you mean --patience?"),
        ("--early-stopping-patience", "did you mean --patience?"),
        ("--pretrained", "did you mean --init-from?"),
        ("--initial-checkpoint", "did you mean --init-from?"),
        ("--weights", "did you mean --init-from?"),
        ("--weight", "did you mean --class-weight?"),
        ("--class-weights", "did you mean --class-weight?"),
        ("--freeze-layers", "did you mean --freeze?"),
        ("--activation", "there is none, because activations are layers"),
        ("--weight-init", "there is none, because every layer initializes"),
        ("--amp", "there is none, because weights are float32"),
        # mistyped, begun, and unknown
        ("--learnin-rate", "did you mean --learning-rate?"),
        ("--warmup", "did you mean --warmup-epochs?"),
        ("--label", "did you mean --label-smoothing?"),
        ("--xyz", "see prog --help"),
        ("--lst", "see prog --help"),
        ("--part", "see prog --help"),  # an old name, but of an option of evaluate
    ],
)
def test_an_unknown_option_gets_a_true_hint(word, said):
    line = complaint(parse, [word, "1"], "prog")
    assert line.startswith(f"unknown option {word.partition('=')[0]!r}")
    assert said in line


def test_hints_name_options_of_the_same_command():
    assert "did you mean --split?" in complaint(predict.parse, ["a.h5", "--part", "test"])
    assert "distcnn.predict --help" in complaint(predict.parse, ["a.h5", "--lr", "1"])
    assert "there is none, because distcnn" in complaint(predict.parse, ["a.h5", "--device", "cpu"])
    assert "did you mean -n?" in complaint(launch.parse, ["-n", "1", "--np", "1"])
    assert "mpirun -n N starts N ranks" in complaint(parse, ["--np", "1"], "prog")
    assert "distcnn.launch --help" in complaint(launch.parse, ["-n", "1", "--lr", "1"])


@pytest.mark.parametrize("name", SAME)
def test_every_other_name_leads_to_an_option(name):
    assert {f"-{name}", f"--{name}"}.isdisjoint(OPTIONS + OTHERS)
    ours = "-n" if SAME[name] == "n" else f"--{SAME[name]}"
    assert option_hint(f"--{name}", OPTIONS + OTHERS) == f", did you mean {ours}?"


@pytest.mark.parametrize("name", ADVICE)
def test_every_advice_is_given(name):
    assert f"--{name}" not in OPTIONS + OTHERS
    assert option_hint(f"--{name}", OPTIONS) == f"; {ADVICE[name]}"


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("lr", ", did you mean learning_rate?"),
        ("weight_dekay", ", did you mean weight_decay?"),
        ("min_lr", "; final_lr_fraction is the last learning rate, as a fraction of learning_rate"),
        ("num_workers", "; there is none, because"),
        ("xyz", ""),
    ],
)
def test_keys_of_files_get_hints_too(key, hint):
    found = key_hint(key, SETTINGS)
    assert found.startswith(hint) if hint else found == ""
    assert not re.search("--[a-su-z]", found)


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("optimizer", "momentum", "sgd"),
        ("optimizer", "adam", "adamw"),
        ("optimizer", "Adam", "adamw"),
        ("optimizer", "nesterow", "nesterov"),
        ("schedule", "OneCycle", "one-cycle"),
        ("schedule", "one_cycle", "one-cycle"),
        ("schedule", "multistep", "step"),
    ],
)
def test_other_values_get_hints(name, value, hint):
    line = complaint(parse, [option(name), value], "prog")
    assert f"{option(name)}: {value!r} is not valid; wanted " in line
    assert line.endswith(f"did you mean {hint}?")


def test_every_hint_on_a_value_is_valid():
    for name, values in OTHER_VALUES.items():
        for value, ours in values.items():
            assert kind(name).validate(value) is None
            assert kind(name).validate(ours) == ours
            assert value_hint(name, value, kind(name)) == f"; did you mean {ours}?"


def test_optimizers_are_declared_once():
    """The table of kernels names them and what they read; a class of this name does the rest."""
    assert list(optimizer_settings()) == list(OPTIMIZERS) == list(UPDATES)
    assert all(each.name == name for name, each in OPTIMIZERS.items())
    assert {name for update in UPDATES.values() for name in update.settings} <= set(SETTINGS)
    assert needs("beta2") == {"optimizer": ("adamw",)}
    assert needs("momentum") == {}


def test_schedules_are_declared_once():
    assert {*schedule.SCHEDULES, "one-cycle"} == set(SCHEDULE.words)
    for name in SETTINGS:
        assert set(needs(name).get("schedule", ())) <= set(SCHEDULE.words)


def test_a_new_optimizer_is_a_choice_at_once(monkeypatch):
    """Neither the settings nor the command line list the optimizers."""
    monkeypatch.setitem(UPDATES, "plain", UPDATES["sgd"]._replace(settings=()))
    assert parse(["--optimizer", "plain"], "prog").config.optimizer == "plain"
    assert needs("momentum") == {"optimizer": ("sgd", "nesterov", "adamw", "lars")}
