"""Files of early versions (old_checkpoints/README.md): they are read, and resume to the bits they always gave."""

from pathlib import Path

import pytest

from distcnn.config.toml import from_toml
from distcnn.run import checkpoint

FOLDER = Path(__file__).with_name("old_checkpoints")
DIGESTS = {  # of the runs that the old commits trained to the end, without a stop
    "format-1.h5": "a7d5dfa51de08d64f4c270a5306cbecd65a262629cd193c7a6dfe67134549efc",
    "format-2.h5": "8def140d4e991d17906e648431ed1d2e6e85319eae54eb291be82d72687a1e1d",
}


@pytest.mark.parametrize("name", DIGESTS)
def test_an_old_checkpoint_resumes_to_the_digest_of_an_uninterrupted_run(tmp_path, run, name):
    done = run("python", "-m", "distcnn.train", "--resume", FOLDER / name, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "from step 17" in done.stdout
    assert done.stdout.splitlines()[-1] == f"weights_sha256 {DIGESTS[name]}"


def test_an_old_config_file_gives_the_same_run(tmp_path, run):
    done = run("python", "-m", "distcnn.train", "--config", FOLDER / "config.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"weights_sha256 {DIGESTS['format-2.h5']}"


@pytest.mark.parametrize(("name", "number"), [("format-1.h5", 1), ("format-2.h5", 2)])
def test_the_formats_are_what_their_names_say(name, number):
    content = (FOLDER / name).read_bytes()
    assert content.startswith(b"distcnn checkpoint %d\n" % number)
    state = checkpoint.load(FOLDER / name)
    assert (state.step, state.epoch) == (17, 1)
    assert b"\naverage = " in content  # an old key


def test_old_keys_and_values_are_read_as_those_of_today():
    state = checkpoint.load(FOLDER / "format-2.h5")
    config = from_toml(state.config_toml, "here")
    assert (config.optimizer, config.ema_decay, config.normalize) == ("adamw", 0.9, "none")
    assert (list(config.milestones), config.gamma, config.validation_split) == ([1, 2], 0.5, 0.2)
    assert (config.keep_checkpoints, config.replica_check_every, config.hang_timeout) == (2, 7, 600.0)
    config = from_toml(checkpoint.load(FOLDER / "format-1.h5").config_toml, "here")
    assert (config.optimizer, config.ema_decay) == ("sgd", 0.8)
    assert (config.initial_lr_fraction, config.final_lr_fraction) == (0.1, 0.05)
