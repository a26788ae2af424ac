"""Networks and layers of the user's own: four ways to name one, and no code that the user has not named."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from distcnn.errors import ConfigError, NetError
from distcnn.models import MODELS, build, notation
from distcnn.models.networks import network_text
from distcnn.parallel.serial import SerialComm
from distcnn.run import checkpoint
from tests.helpers.commands import call
from tests.helpers.own_networks import CODE, PLAIN

OWN = "Conv2D(4, 5, stride=2)\nmynet.Double()\nmynet.Abs()\nMaxPool2D(3)\nFlatten()\nDense(10)\n"
TRAIN = "--epochs", 2, "--checkpoint-every", 5, "--progress", "none"


@pytest.fixture
def folder(comm, shared_path, monkeypatch):
    """Return a working folder with the user's files, the same on all ranks."""
    if comm.rank == 0:
        Path(shared_path, "mynet.py").write_text(CODE)
        Path(shared_path, "plain.txt").write_text(f"# a network\n{PLAIN}")
        Path(shared_path, "own.txt").write_text(OWN)
    comm.Barrier()
    monkeypatch.chdir(shared_path)
    return Path(shared_path)


def train(comm, *words, code=0):
    done = call(comm, "distcnn.train", *TRAIN, *words)
    assert done.returncode == code, done.stderr
    return done.stdout.splitlines()[-1] if code == 0 else done.stderr


@pytest.mark.mpi
def test_four_ways_give_one_network(comm, folder):
    named = train(comm, "--model", "mynet.py:plain", "--out", "a")
    assert train(comm, "--model", "plain.txt", "--out", "b") == named
    assert train(comm, "--model", "mynet:plain", "--out", "c") == named
    assert train(comm, "--model", "a/network.txt", "--out", "d") == named
    assert Path("a/network.txt").read_text() == PLAIN
    if comm.size == 1:
        assert train(comm, "--model", "lenet5", "--max-steps", 3, "--out", "e") == train(
            comm, "--model", "e/network.txt", "--max-steps", 3, "--out", "f"
        )


@pytest.mark.mpi
def test_a_run_needs_no_file_of_the_users(comm, folder, tmp_path_factory, monkeypatch):
    whole = train(comm, "--model", "mynet.py:plain", "--out", "whole")
    train(comm, "--model", "mynet.py:plain", "--out", "run", "--max-steps", 17)
    comm.Barrier()
    if comm.rank == 0:
        Path("mynet.py").unlink()
    comm.Barrier()
    assert whole == train(comm, "--resume", "auto", "--out", "run")
    for command in ("evaluate", "verify"):
        done = call(comm, f"distcnn.{command}", "run")
        assert (done.returncode, done.stdout.splitlines()[-1]) == (0, whole), done.stderr
    assert call(comm, "distcnn.predict", "run").returncode == 0
    if find_spec("safetensors"):
        done = call(comm, "distcnn.export", "run", "net.safetensors")
        assert done.returncode == 0, done.stderr


@pytest.mark.mpi
def test_layers_of_the_users_train_and_are_imported_only_by_name(comm, folder):
    whole = train(comm, "--model", "mynet.py:own", "--out", "whole")
    assert Path("whole/network.txt").read_text() == OWN
    assert train(comm, "--model", "own.txt", "--layers", "mynet.py", "--out", "text") == whole
    train(comm, "--model", "mynet.py:own", "--out", "run", "--max-steps", 17)
    message = train(comm, "--resume", "auto", "--out", "run", code=2)
    assert (
        "the layer mynet.Double is of your own code: name its file or module, as --layers mynet.py" in message
    )
    assert train(comm, "--resume", "auto", "--out", "run", "--layers", "mynet.py") == whole
    for command in ("evaluate", "verify"):
        assert "--layers mynet.py" in call(comm, f"distcnn.{command}", "run").stderr
        done = call(comm, f"distcnn.{command}", "run", "--layers", "mynet.py")
        assert (done.returncode, done.stdout.splitlines()[-1]) == (0, whole), done.stderr
    _, state = checkpoint.newest("run/checkpoints", pytest.fail)
    assert list(state.user_code) == ["mynet:Abs", "mynet:Double"]


@pytest.mark.mpi(ranks=(1, 2))
def test_code_that_has_changed_is_told_and_is_not_trained_further(comm, folder):
    train(comm, "--model", "mynet.py:own", "--out", "run", "--max-steps", 17)
    if comm.rank == 0:
        Path("mynet.py").write_text(CODE + "# changed\n")
    comm.Barrier()
    changed = "the file that defines mynet:Abs, mynet:Double has changed since the training"
    done = call(comm, "distcnn.evaluate", "run", "--layers", "mynet.py")
    assert done.returncode == 0
    assert done.stderr.count(f"distcnn: warning: {changed}\n") == 1
    assert changed in train(comm, "--resume", "auto", "--out", "run", "--layers", "mynet.py", code=2)
    assert call(comm, "distcnn.verify", "run", "--layers", "mynet.py").returncode == 2


@pytest.mark.mpi(ranks=(1, 2))
def test_another_network_is_refused_when_a_run_is_resumed(comm, folder):
    train(comm, "--model", "mynet.py:plain", "--out", "run", "--max-steps", 17)
    assert "leave the option out" in train(
        comm, "--resume", "auto", "--out", "run", "--model", "lenet5", code=2
    )
    if comm.rank == 0:
        Path("mynet.py").write_text(CODE.replace("Conv2D(4, 5", "Conv2D(4, 3"))
    comm.Barrier()
    command = "--resume", "auto", "--out", "run", "--model", "mynet.py:plain"
    assert "another network than that of the run: leave the option out" in train(comm, *command, code=2)
    train(comm, "--resume", "auto", "--out", "run")


def test_a_checkpoint_cannot_name_code_to_run(tmp_path, monkeypatch):
    """Neither a word for --model nor a layer's name in a checkpoint imports anything."""
    monkeypatch.chdir(tmp_path)
    Path("mynet.py").write_text(CODE)
    Path("trap.py").write_text("open('sprung', 'w')\ndef net(*_): raise SystemExit(0)\n")
    comm = SerialComm()
    train(comm, "--model", "mynet.py:plain", "--out", "run", "--max-steps", 17)
    path, state = checkpoint.newest("run/checkpoints", pytest.fail)
    for word in ("trap:net", f"{tmp_path}/trap.py:net"):
        for network in ("", "trap.Layer()\nDense(10)\n", PLAIN):
            state.config_toml = state.config_toml.replace(f'"{tmp_path}/mynet.py:plain"', json.dumps(word))
            state.network = network
            checkpoint.save(path, state)
            codes = [
                call(comm, f"distcnn.{each}", "run").returncode for each in ("evaluate", "predict", "verify")
            ]
            assert set(codes) == ({0} if network == PLAIN else {2})
    assert not Path("sprung").exists()


MISTAKES = {
    "nonet": "unknown model 'nonet'; wanted one of: alexnet",
    "lenet": "wanted lenet5",
    "lenet6": "did you mean lenet5",
    "mynet.py": "names no function; wanted mynet.py:FUNCTION, its functions are .*plain, own",
    "mynet.py:nothing": "has no function nothing; wanted one of its functions: .*plain, own",
    "missing.py:net": "missing.py: No such file or directory; wanted a Python file",
    "missing.txt": "missing.txt does not exist",
    "missing:net": "No module named 'missing'",
    "bad.py:names": r"bad.py:4: NameError: name 'undefined' is not defined",
    "bad.py:layer": r"bad.py:7: Conv2D: kernel_size is -3",
    "bad.py:nothing": r"--model .*bad.py:nothing returned None; wanted a list of layers",
    "bad.py:text": r"returned 'R'; wanted a list of layers",
    "bad.py:exits": r"bad.py:16: SystemExit: 3",
    "bad.py:outputs": r"ends in an output of shape \(7,\), but the data have 10 classes: end it in Dense\(10\)",
    "bad.py:shapes": r"--model .*bad.py:shapes: layer 0: Dense\(10\) wants features",
    "bad.py:argument": r"bad.py:25: TypeError: .*paddin",
    "bad.py:a_class": r"returned a list with <class .*ReLU'>, which is a class: call it, as in ReLU\(\); wanted",
    "bad.py:nested": r"returned a list with \[ReLU\(\)\], which is a list itself: write \* before it; wanted",
    "syntax.py:net": r"syntax.py:1: SyntaxError",
    "bad.txt": r"bad.txt:2: unknown layer 'Conv2d', did you mean Conv2D",
}
BAD = """from distcnn.layers import *

def names(shape, outputs):
    return undefined

def layer(shape, outputs):
    return [Conv2D(8, -3)]

def nothing(shape, outputs):
    pass

def text(shape, outputs):
    return "ReLU()"

def exits(shape, outputs):
    raise SystemExit(3)

def outputs(shape, outputs):
    return [Flatten(), Dense(7)]

def shapes(shape, outputs):
    return [Dense(10)]

def argument(shape, outputs):
    return [Conv2D(8, 3, paddin=1)]

def a_class(shape, outputs):
    return [Flatten(), ReLU, Dense(outputs)]

def nested(shape, outputs):
    return [[ReLU()], Flatten(), Dense(outputs)]
"""


@pytest.mark.parametrize("word", MISTAKES)
def test_mistakes_are_told_in_one_line_with_file_and_line(word, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "mynet.py": CODE,
        "bad.py": BAD,
        "syntax.py": "x = (\n",
        "bad.txt": "\nConv2d(6, 5)\n",
    }.items():
        Path(name).write_text(text)
    with pytest.raises((ConfigError, NetError), match=MISTAKES[word]) as caught:
        network_text(word, (1, 28, 28), 10)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("where", ["forward", "output_shape", "absolute"])
@pytest.mark.mpi(ranks=(1,))
def test_an_error_in_a_layer_of_the_users_names_its_line(comm, folder, where):
    text = CODE.replace(f"def {where}(", f"def {where}(", 1)
    start = text.index(f"def {where}(", text.index("def absolute(") if where != "absolute" else 0)
    body = text.index("\n", start) + 1
    indent = "        " if where != "absolute" else "    "
    Path("mynet.py").write_text(f"{text[:body]}{indent}1 / 0\n{text[body:]}")
    line = text.count("\n", 0, body) + 1
    message = train(comm, "--model", "mynet.py:own", "--out", "run", code=2)
    assert f"mynet.py:{line}: ZeroDivisionError: division by zero" in message
    assert "Traceback" not in message


@pytest.mark.parametrize("name", MODELS)
def test_the_notation_of_a_model_gives_its_bits(name, monkeypatch):
    if name in ("vgg16", "alexnet"):
        pytest.skip("large; their notation is that of test_notation")
    shape = MODELS[name].input_shape
    layers = notation.read(network_text(name, shape, 10), name)
    ours, theirs = build(name, shape, 10, seed=0), type(build(name, shape, 10, 0))(layers, shape, 0)
    images = np.linspace(-1, 1, 3 * np.prod(shape), dtype=np.float32).reshape(3, *shape)
    labels = np.array([0, 9, 5])
    assert ours.digest == theirs.digest
    loss, gradients = ours.loss_and_gradients(images, labels)
    again, others = theirs.loss_and_gradients(images, labels)
    assert loss == again
    assert all(np.array_equal(gradients[key], others[key]) for key in gradients)
