"""Settings: the same table for options, files and checkpoints; every mistake is one line."""

import pickle
from dataclasses import fields, replace

import pytest

from distcnn.config.checks import check_consistency
from distcnn.config.hints import suggestion
from distcnn.config.parser import parse
from distcnn.config.settings import Config, Request, resumed
from distcnn.config.toml import from_toml, to_toml
from distcnn.errors import ConfigError
from distcnn.numerics import NUMERICS


def asked(*argv):
    return parse(argv, "prog")


def complaint(function, *args):
    """Return the one line with which the call is refused."""
    with pytest.raises(ConfigError) as caught:
        function(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_options_the_defaults_hold():
    assert asked() == Request(Config(), frozenset())


def test_options_are_read_as_their_types():
    request = asked("--batch-size", "64", "--learning-rate=1e-2", "--data", "a b.h5", "--max-steps", "7")
    assert request.config == Config(batch_size=64, learning_rate=0.01, data="a b.h5", max_steps=7)
    assert request.given == {"batch_size", "learning_rate", "data", "max_steps"}


@pytest.mark.parametrize("name", [setting.name for setting in fields(Config)])
def test_every_setting_is_an_option_of_the_help(name, capsys):
    with pytest.raises(SystemExit) as caught:
        asked("--help")
    assert caught.value.code == 0
    assert f"  --{name.replace('_', '-')} " in capsys.readouterr().out


def test_version_names_the_numerics(capsys):
    with pytest.raises(SystemExit):
        asked("--version")
    assert f"numerics {NUMERICS}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--bach-size", "3"], ["--bach-size", "--batch-size?"]),
        (["--bach-size=3"], ["--bach-size", "--batch-size?"]),
        (["--epoch", "3"], ["--epochs?"]),  # no abbreviations: a later option could make them ambiguous
        (["train.h5"], ["train.h5", "--help"]),
        (["--epochs"], ["--epochs", "expected one argument"]),
        (["--epochs", "ten"], ["--epochs", "'ten'", "whole number from 1"]),
        (["--epochs", "0"], ["--epochs", "0", "whole number from 1"]),
        (["--epochs", "2.5"], ["--epochs", "whole number"]),
        (["--epochs", "1_0"], ["--epochs", "'1_0'", "whole number"]),
        (["--epochs", "\N{ARABIC-INDIC DIGIT THREE}"], ["--epochs", "whole number"]),
        (["--learning-rate", " 1"], ["--learning-rate", "' 1'"]),
        (["--epochs", "3", "--epochs=3"], ["--epochs is given twice"]),
        (["--epochs", "9" * 5000], ["--epochs", "whole number"]),
        (["--batch-size", "0"], ["--batch-size", "whole number from 1"]),
        (["--max-steps", "0"], ["--max-steps"]),
        (["--checkpoint-every", "-1"], ["--checkpoint-every", "from 0"]),
        (["--seed", "-1"], ["--seed", "from 0"]),
        (["--seed", str(2**63)], ["--seed", str(2**63 - 1)]),
        (["--learning-rate", "nan"], ["--learning-rate", "nan"]),
        (["--learning-rate", "inf"], ["--learning-rate", "inf"]),
        (["--momentum", "1"], ["--momentum", "below 1"]),
        (["--weight-decay=-0.1"], ["--weight-decay", "from 0"]),
        (["--schedule", "cosin"], ["--schedule", "'cosin'", "constant or cosine"]),
        (["--milestones", "3,2"], ["--milestones", "[3, 2]", "increasing whole numbers from 1"]),
        (["--milestones", "3,x"], ["--milestones", "'x'"]),
        (["--milestones", "0"], ["--milestones", "whole numbers from 1"]),
        (["--milestones", ""], ["--milestones", "whole numbers from 1"]),
        (["--ema-decay", "1"], ["--ema-decay", "below 1"]),
        (["--epsilon", "0"], ["--epsilon", "from 1e-12"]),
        (["--reduction", "float16"], ["--reduction", "exact or float32"]),
        (["--out", ""], ["--out", "a path"]),
        (["--out", "a\nb"], ["--out", "a path"]),
        (["--data", "\udcff.h5"], ["--data", "a path"]),
        (["--config", "missing.toml"], ["missing.toml", "No such file"]),
        (["--config", "/"], ["--config /", "directory"]),
    ],
)
def test_a_wrong_option_is_refused_in_one_line(argv, words):
    line = complaint(parse, argv, "prog")
    assert [word for word in words if word not in line] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bach_size = 3", ["bach_size", "batch_size?"]),
        ("batch-size = 3", ["batch-size", "batch_size?"]),
        ("[train]\nepochs = 3", ["unknown key 'train'"]),
        ("epochs = '3'", ["epochs", "'3'", "whole number"]),
        ("epochs = true", ["epochs", "True", "whole number"]),
        ("epochs = 3.0", ["epochs", "3.0", "whole number"]),
        ("model = 5", ["model", "5", "a network"]),
        ("milestones = 3", ["milestones", "3", "whole numbers"]),
        ("milestones = [1.5]", ["milestones", "[1.5]", "whole numbers"]),
        ("schedule = ['cosine']", ["schedule", "constant or cosine"]),
        ("learning_rate = nan", ["learning_rate", "nan"]),
        ("learning_rate = true", ["learning_rate", "True"]),
        ('data = "a\\u0000b"', ["data", "a path"]),
        ("epochs = ", ["not TOML"]),
        ("seed = " + "9" * 5000, ["x.toml"]),
        ("seed = " + "[" * 5000, ["not TOML"]),
        (f"numerics = {NUMERICS + 1}", ["numerics", "remove the line"]),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path, monkeypatch, text, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.toml").write_text(text)
    line = complaint(parse, ["--config", "x.toml"], "prog")
    assert [word for word in ["x.toml", *words] if word not in line] == []


def test_a_file_that_is_not_text_is_refused_in_one_line(tmp_path):
    (tmp_path / "data.h5").write_bytes(b"\x89HDF\r\n\x1a\n\xff")
    assert "not a text file" in complaint(parse, ["--config", str(tmp_path / "data.h5")], "prog")


def test_options_win_over_the_file_and_both_count_as_given(tmp_path):
    (tmp_path / "x.toml").write_text("epochs = 3\nlearning_rate = 1\nout = 'there'\n")
    request = asked("--epochs", "4", "--config", str(tmp_path / "x.toml"))
    assert request.config == Config(epochs=4, learning_rate=1.0, out="there")
    assert type(request.config.learning_rate) is float
    assert request.given == {"epochs", "learning_rate", "out"}


def test_what_is_saved_is_read_back():
    one = Config(data='/a "b"/ü\\.h5', learning_rate=0.1 + 0.2, seed=2**63 - 1, milestones=(3, 80))
    assert from_toml(to_toml(one), "config.toml") == one


def test_saved_settings_hold_numerics_but_nothing_of_one_call():
    text = to_toml(Config(out="here", resume="auto", max_steps=3, progress="bar"))
    assert f"numerics = {NUMERICS}\n" in text
    assert from_toml(text, "config.toml") == Config()


def test_settings_saved_under_other_numerics_can_still_be_read():
    assert from_toml(f"numerics = {NUMERICS + 1}\nepochs = 3", "old").epochs == 3


def test_a_resumed_run_keeps_what_is_not_given():
    saved = Config(epochs=20, seed=5, data="/x.h5", checkpoint_every=7)
    assert resumed(asked("--resume", "auto"), saved) == replace(saved, resume="auto")


def test_a_resumed_run_takes_what_may_differ():
    words = ["--epochs", "30", "--max-steps", "9", "--out", "b", "--checkpoint-every", "0", "--data", "/y.h5"]
    wanted = Config(seed=5, epochs=30, max_steps=9, out="b", checkpoint_every=0, data="/y.h5")
    assert resumed(asked(*words), Config(seed=5, epochs=20, data="/x.h5")) == wanted


def test_max_steps_belongs_to_one_call():
    assert resumed(asked(), Config(max_steps=9)).max_steps is None


SAVED = Config(learning_rate=0.5, schedule="cosine", batch_size=128, warmup_epochs=1.0, momentum=0.9, seed=0)


@pytest.mark.parametrize(
    ("option", "value", "saved"),
    [
        ("--model", "vgg16", "lenet5"),
        ("--batch-size", "64", "128"),
        ("--learning-rate", "0.7", "0.5"),
        ("--schedule", "constant", "cosine"),
        ("--warmup-epochs", "3", "1.0"),
        ("--momentum", "0.5", "0.9"),
        ("--weight-decay", "0.1", "0.0"),
        ("--seed", "1", "0"),
        ("--normalize", "none", "channel"),
        ("--norm-group", "2", "1"),
        ("--reduction", "float32", "exact"),
    ],
)
def test_a_resumed_run_refuses_what_changes_bits(option, value, saved):
    line = complaint(resumed, asked(option, value), SAVED)
    assert [word for word in (option, value, saved) if word not in line] == []


def test_a_resumed_run_accepts_what_it_has():
    assert resumed(asked("--seed", "0", "--learning-rate", "5e-1"), SAVED) == SAVED


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--beta2", "0.9"], ["--beta2", "--optimizer sgd", "--optimizer adamw"]),
        (["--optimizer", "nesterov", "--trust-coefficient", "0.1"], ["--trust-coefficient", "lars"]),
        (["--power", "2"], ["--power", "--schedule cosine", "--schedule polynomial"]),
        (
            ["--schedule", "step", "--milestones", "2", "--final-lr-fraction", "0.1"],
            ["cosine or one-cycle or"],
        ),
        (["--schedule", "step"], ["--step-size or --milestones"]),
        (["--schedule", "step", "--step-size", "2", "--milestones", "2"], ["either"]),
        (["--schedule", "one-cycle", "--epochs", "2"], ["--warmup-epochs 2 leaves none of the 2"]),
        (["--optimizer", "nesterov", "--momentum", "0"], ["--momentum 0"]),
        (["--decay", "weights"], ["--weight-decay"]),
        (
            ["--norm-group", "5", "--batch-size", "64"],
            ["--norm-group 5", "4 blocks of 16", "at most 4, or global"],
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused(argv, words):
    line = complaint(check_consistency, asked(*argv).config)
    assert [word for word in words if word not in line] == []


def test_defaults_go_together():
    check_consistency(Config())


def test_a_request_can_travel_to_other_ranks():
    request = asked("--seed", "1")
    assert pickle.loads(pickle.dumps(request)) == request


@pytest.mark.parametrize(
    ("word", "hint"), [("lenet", ", did you mean lenet5?"), ("lenet6", ", did you mean lenet5?"), ("x", "")]
)
def test_suggestions_are_near_or_absent(word, hint):
    assert suggestion(word, ["lenet5", "vgg16"]) == hint
