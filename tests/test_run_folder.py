"""A run's folder: which folder a request means, what it resumes from, and that mistakes leave nothing behind."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from distcnn.config.parser import parse
from distcnn.config.settings import Config
from distcnn.config.toml import from_toml, to_toml
from distcnn.errors import CheckpointError, ConfigError, OutputError
from distcnn.numerics import NUMERICS
from distcnn.run import checkpoint, run_folder
from tests.helpers.files import written
from tests.helpers.states import state

NETWORK = "Flatten()\nDense(10)\n"


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def find(*argv, warn=pytest.fail):
    return run_folder.find(parse(argv, "prog"), warn)


def begin(*argv, steps=(), **settings):
    """Make a run's folder, with a checkpoint at each of the steps."""
    run = run_folder.create(find(*argv), NETWORK)
    for step in steps:
        saved = state(step, config_toml=to_toml(replace(run.config, **settings)), numerics=NUMERICS)
        checkpoint.save(run.checkpoints / checkpoint.name(step), saved)
    return run


def complaint(*argv, kind=OutputError):
    before = sorted(Path().rglob("*"))
    with pytest.raises(kind) as caught:
        find(*argv)
    assert "\n" not in str(caught.value)
    assert sorted(Path().rglob("*")) == before
    return str(caught.value)


def test_finding_writes_nothing():
    find()
    find("--out", "a/b")
    assert os.listdir() == []


def test_a_new_run_has_a_folder_with_all_that_is_resolved():
    run = run_folder.create(find("--out", "a/b", "--seed", "3", "--data", "x.h5"), NETWORK)
    assert sorted(os.listdir("a/b")) == ["checkpoints", "config.toml", "network.txt"]
    assert Path("a/b/network.txt").read_text() == NETWORK
    assert run.config == Config(out="a/b", seed=3, data=os.path.abspath("x.h5"))
    assert from_toml(Path("a/b/config.toml").read_text(), "") == replace(run.config, out=None)
    assert (run.metrics, run.curves) == (Path("a/b/metrics.jsonl"), Path("a/b/curves.png"))


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        ([], "lenet5-digits"),
        (["--model", "vgg16", "--data", "there/mnist.h5"], "vgg16-mnist"),
        (["--resume", "auto"], "lenet5-digits"),
    ],
)
def test_without_out_the_folder_is_named_after_model_and_data(argv, name):
    assert begin(*argv).folder == Path("runs", name)


def test_names_are_numbered_and_never_used_again():
    assert [begin().folder.name for _ in range(3)] == ["lenet5-digits", "lenet5-digits-2", "lenet5-digits-3"]
    os.renames("runs/lenet5-digits", "elsewhere")
    assert begin().folder.name == "lenet5-digits-4"
    assert begin("--data", "digits-9.h5").folder.name == "lenet5-digits-9"


def test_of_two_jobs_that_begin_at_once_each_gets_its_own_folder():
    one, other = find(), find()
    assert one.folder == other.folder
    assert run_folder.create(one, NETWORK).folder != run_folder.create(other, NETWORK).folder


def test_of_two_jobs_that_begin_at_once_in_one_out_the_second_is_refused():
    one, other = find("--out", "a"), find("--out", "a")
    run_folder.create(one, NETWORK)
    with pytest.raises(OutputError, match="holds a run"):
        run_folder.create(other, NETWORK)


@pytest.mark.parametrize("trace", ["config.toml", "metrics.jsonl", "checkpoints"])
def test_a_folder_that_holds_a_run_is_refused(trace):
    os.makedirs(f"a/{trace}")
    assert "a: holds a run; continue it with --resume auto" in complaint("--out", "a")


def test_a_folder_with_other_things_is_accepted():
    os.makedirs("a/notes")
    assert begin("--out", "a").folder == Path("a")


@pytest.mark.parametrize("out", ["/proc/here", "/proc", "file", "file/below", "link", "loop", "a" * 300])
@pytest.mark.parametrize("resume", ["never", "auto"])
def test_a_folder_that_cannot_be_written_is_refused(out, resume):
    Path("file").write_text("")
    os.symlink("/missing/folder", "link")
    os.symlink("loop", "loop")
    assert "cannot be written" in complaint("--out", out, "--resume", resume)


def test_runs_may_be_no_folder():
    Path("runs").write_text("")
    assert "cannot be written" in complaint()


def test_auto_begins_where_there_is_no_run():
    run = find("--out", "a", "--resume", "auto")
    assert (run.folder, run.state, run.begun) == (Path("a"), None, False)


def test_auto_goes_on_from_the_newest_good_checkpoint_with_its_settings():
    begin("--out", "a", "--seed", "5", "--epochs", "20", steps=(1, 2))
    Path("a/checkpoints/step-00000003.h5").write_bytes(b"")
    warnings = []
    run = run_folder.create(
        find("--out", "a", "--resume", "auto", "--epochs", "30", warn=warnings.append), NETWORK
    )
    assert (run.state.step, run.source.name) == (2, "step-00000002.h5")
    assert (run.config.seed, run.config.epochs) == (5, 30)
    assert "step-00000003.h5" in warnings[0]
    assert from_toml(Path("a/config.toml").read_text(), "").epochs == 30
    set_aside = Path("a/checkpoints/step-00000003.h5")  # otherwise a later prune would keep it as the newest
    assert not set_aside.exists()


def test_auto_without_out_goes_on_in_the_last_folder_of_the_name():
    begin("--seed", "1", steps=(1,))
    begin("--seed", "2", steps=(1,))
    os.mkdir("runs/lenet5-digits-3")
    begin("--data", "mnist.h5", steps=(9,))
    run = find("--resume", "auto")
    assert (run.folder.name, run.config.seed, run.state.step) == ("lenet5-digits-2", 2, 1)


def test_auto_keeps_the_settings_of_a_run_that_ended_before_its_first_checkpoint():
    begin("--out", "a", "--seed", "5")
    warnings = []
    run = run_folder.create(find("--out", "a", "--resume", "auto", warn=warnings.append), NETWORK)
    assert (run.config.seed, run.state, run.begun) == (5, None, True)
    assert "starting from the beginning" in warnings[0]


def test_settings_that_change_bits_are_refused_on_resume():
    begin("--out", "a", "--seed", "5", steps=(1,))
    assert "--seed 6: the run has 5" in complaint(
        "--out", "a", "--resume", "auto", "--seed", "6", kind=ConfigError
    )


@pytest.mark.parametrize("out", [[], ["--out", "a"], ["--out", "../here/a"]])
def test_a_checkpoint_goes_on_in_its_own_folder(tmp_path, monkeypatch, out):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    begin("--out", "a", "--seed", "5", steps=(1, 2))
    run = run_folder.create(find("--resume", "a/checkpoints/step-00000001.h5", *out), NETWORK)
    assert (run.folder.resolve(), run.state.step, run.config.seed) == (Path("a").resolve(), 1, 5)
    assert checkpoint.newest("a/checkpoints", pytest.fail)[1].step == 1


def test_a_checkpoint_goes_on_in_a_new_folder_when_out_says_so():
    begin("--out", "a", steps=(1, 2))
    run = run_folder.create(find("--resume", "a/checkpoints/step-00000001.h5", "--out", "b"), NETWORK)
    assert (run.folder, run.state.step) == (Path("b"), 1)
    assert len(os.listdir("a/checkpoints")) == 2


def test_a_checkpoint_without_a_run_goes_on_in_a_fresh_folder():
    begin("--out", "a", "--model", "vgg16", steps=(1,))
    os.rename("a/checkpoints/step-00000001.h5", "best.h5")
    run = run_folder.create(find("--resume", "best.h5"), NETWORK)
    assert run.folder == Path("runs/vgg16-digits")


def test_a_checkpoint_does_not_go_on_in_the_folder_of_another_run():
    begin("--out", "a", steps=(1,))
    begin("--out", "b", steps=(1,))
    assert "b: holds a run" in complaint("--resume", "a/checkpoints/step-00000001.h5", "--out", "b")


def test_a_checkpoint_of_other_numerics_is_refused():
    checkpoint.save("x.h5", state(1, config_toml=to_toml(Config()), numerics=NUMERICS + 1))
    assert f"numerics {NUMERICS + 1}" in complaint("--resume", "x.h5", kind=CheckpointError)


def test_a_checkpoint_that_is_missing_is_refused():
    assert "x.h5" in complaint("--resume", "x.h5", kind=CheckpointError)


def test_what_killed_jobs_have_left_goes():
    begin("--out", "a", steps=(1,))
    left = ".config.toml.01234567.tmp", ".metrics.jsonl.89abcdef.tmp", ".curves.png.00000000.tmp"
    others = ".config.toml.tmp", ".notes.01234567.tmp", "config.toml.01234567.tmp", ".curves.png.0000000g.tmp"
    for name in (*left, *others):
        Path("a", name).write_bytes(b"x")
    run_folder.create(find("--out", "a", "--resume", "auto"), NETWORK)
    assert {name for name in os.listdir("a") if name.endswith(".tmp")} == set(others)


def test_settings_that_have_not_changed_are_not_written_again():
    """A run can be resumed on a full disk."""
    begin("--out", "a", steps=(1,))
    before = written("a/config.toml")
    run_folder.create(find("--out", "a", "--resume", "auto"), NETWORK)
    assert written("a/config.toml") == before


def test_a_folder_is_known_to_be_free_before_it_is_read_and_held_before_it_is_written():
    asked = []

    def refuse(folder):
        asked.append(folder)
        raise OutputError("in use")

    for argv in (["--out", "new"], ["--out", "other", "--resume", "auto"], []):
        run = run_folder.find(parse(argv, "prog"), pytest.fail, refuse)
        with pytest.raises(OutputError, match="in use"):
            run_folder.create(run, NETWORK, hold=refuse)
        assert os.listdir(run.folder) == []
    assert asked == [Path("new"), Path("other"), Path("runs/lenet5-digits")]
    asked.clear()
    os.makedirs("a/checkpoints")
    Path("a/checkpoints/step-00000001.h5").write_bytes(b"damaged, which nobody reads")
    for argv in (
        ["--out", "a"],
        ["--out", "a", "--resume", "auto"],
        ["--resume", "a/checkpoints/step-00000001.h5"],
        ["--resume", "a/checkpoints/step-00000001.h5", "--out", "a"],
    ):
        with pytest.raises(OutputError, match="in use"):
            run_folder.find(parse(argv, "prog"), pytest.fail, refuse)
    assert {each.resolve() for each in asked} == {Path("a").resolve()}
    assert len(asked) == 4


@pytest.mark.parametrize("steps", [(), (1, 2)])
def test_a_run_that_has_gone_on_meanwhile_is_refused(steps):
    """Another job has begun and ended between the choice of the checkpoint and the lock."""
    begun = begin("--out", "a", steps=steps)
    run = find("--out", "a", "--resume", "auto", warn=lambda text: None)
    saved = state(3, config_toml=to_toml(begun.config), numerics=NUMERICS)
    checkpoint.save("a/checkpoints/step-00000003.h5", saved)
    checkpoint.prune("a/checkpoints", 1)
    with pytest.raises(OutputError, match="another job has trained there just now; start again"):
        run_folder.create(run, NETWORK)
    assert sorted(os.listdir("a/checkpoints")) == ["step-00000003.h5"]
    run = run_folder.create(find("--out", "a", "--resume", "auto"), NETWORK)  # the remedy
    assert run.state.step == 3
    assert run_folder.create(run, NETWORK, again=True).state.step == 3
