"""Training from Python: the bits of the command line, the same on all ranks, and nothing left behind in the process."""

import io
import os
import pickle
import signal
import sys
import threading
from copy import deepcopy
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

import distcnn
from distcnn import Net
from distcnn.errors import ConfigError, DataError, NetError, UserError
from distcnn.layers import Dense, Flatten, MaxPool2D, ReLU
from distcnn.run import progress_bar
from distcnn.system import signals
from tests.helpers import jobs
from tests.helpers.digests import digest

LAYERS = [MaxPool2D(2), Flatten(), Dense(12), ReLU(), Dense(3)]
NETWORK = "MaxPool2D(2)\nFlatten()\nDense(12)\nReLU()\nDense(3)\n"
SHORT = {"epochs": 3, "batch_size": 48, "progress": "none"}
WORDS = "--epochs", 3, "--batch-size", 48, "--progress", "none", "--model", "network.txt"
NAMES = np.array(["ant", "bee", "cat"])


def samples(n=100, seed=0):
    """Return images (n, 8, 8, 3) of floats, which show their classes, and the names of these."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, n)
    return random.random((n, 8, 8, 3)) + labels[:, None, None, None], NAMES[labels]


X, Y = samples()
XV, YV = samples(40, seed=1)
fit = partial(distcnn.fit, LAYERS, **SHORT)


class OfPyTorch:
    """Has what modules of PyTorch have: they can be called, and their text has several lines."""

    def __call__(self, x):
        return x

    def state_dict(self):
        return {}

    def __repr__(self):
        return "Net(\n  (a): Linear()\n)"


def write(path, **arrays):
    """Write arrays into a file under names that users have."""
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array.astype("S") if array.dtype.kind == "U" else array


@pytest.fixture
def folder(comm, shared_path, monkeypatch):
    """Return a working folder with a network and data, the same on all ranks."""
    monkeypatch.chdir(shared_path)
    if comm.rank == 0:
        Path("network.txt").write_text(NETWORK)
        write("data.h5", x_train=X, y_train=Y, x_val=XV, y_val=YV)
    comm.Barrier()
    return Path(shared_path)


# ---- on any number of ranks ----


@pytest.mark.mpi(timeout=180)
def test_arrays_files_and_the_command_line_have_one_digest(comm, call, folder):
    wanted = digest(call("distcnn.train", *WORDS, "--data", "data.h5", "--out", "command"))
    arrays = fit(data=(X, Y), validation=(XV, YV))
    assert arrays.digest == arrays.net.digest == wanted
    assert arrays.folder is None
    assert fit(data="data.h5").digest == wanted
    if comm.size == 1:
        made = distcnn.fit(lambda shape, outputs: LAYERS, data=Path("data.h5"), out="made", **SHORT)
        assert (made.digest, made.folder) == (wanted, Path("made"))
        assert Path("made/network.txt").read_text() == NETWORK
        named = distcnn.fit("network.txt", data=["data.h5"], out="named", **SHORT)
        assert [each.pop("samples_per_second") > 0 for each in named.history] == [True] * 3
        assert [each["step"] for each in named.history] == [3, 6, 9]
        assert named.digest == wanted
    assert sorted(os.listdir()) == sorted(
        ["command", "data.h5", "network.txt", *["made", "named"] * (comm.size == 1)]
    )


@pytest.mark.mpi
def test_all_ranks_stop_if_the_callback_asks_to_on_one(comm):
    seen = []

    def second_epoch(record):
        seen.append(record)
        return comm.rank == comm.size - 1 and record["epoch"] == 2

    run = fit(data=(X, Y), callback=second_epoch)
    assert run.stopped
    assert [each["epoch"] for each in seen] == [1, 2]
    assert seen == run.history
    assert run.digest == seen[-1]["weights_sha256"] == run.net.digest
    assert len(set(comm.allgather(run.digest))) == 1
    assert not fit(data=(X, Y), callback=print if comm.rank == 0 else None).stopped


@pytest.mark.mpi
def test_an_exception_in_a_callback_is_raised_on_all_ranks(comm):
    def fails(record):
        if comm.rank == comm.size - 1:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fit(data=(X, Y), callback=fails)
    with pytest.raises(ZeroDivisionError):
        distcnn.fit(lambda shape, outputs: 1 // 0, data=(X, Y))


@pytest.mark.mpi(ranks=(2,))
@pytest.mark.once
def test_ranks_with_different_arguments_are_found(comm):
    mine = X + comm.rank
    for arguments, message in (
        ({"data": (mine, Y)}, "the arrays on rank 1 are not those on rank 0"),
        ({"data": (X, Y), "seed": comm.rank}, "seed is 1 on rank 1, but 0 on rank 0"),
        ({"data": (X, Y) if comm.rank else "a.h5"}, "some ranks have arrays, others paths"),
    ):
        with pytest.raises(UserError, match=message):
            fit(**arguments)
    with pytest.raises(ConfigError, match="the model on rank 1 is not that on rank 0"):
        distcnn.fit([*LAYERS[:3], *LAYERS[3 + comm.rank :]], data=(X, Y))
    net = Net(LAYERS, (3, 8, 8), seed=comm.rank)
    for use in net.evaluate, net.fit:
        with pytest.raises(ConfigError, match=r"weights is .* on rank 1, but .* on rank 0"):
            use(X, Y)


@pytest.mark.mpi
def test_a_net_is_trained_in_place_and_evaluated(comm):
    net = Net(LAYERS, (3, 8, 8), seed=5)
    first = net.fit(X, Y, validation=(XV, YV), **SHORT)
    assert net.digest == fit(data=(X, Y), seed=5).digest
    assert net.classes == ("ant", "bee", "cat")
    found = net.evaluate(XV, YV)
    assert found == {"loss": first[-1]["validation_loss"], "accuracy": first[-1]["validation_accuracy"]}
    right = NAMES[net.predict(XV.transpose(0, 3, 1, 2)).argmax(1)] == YV
    assert found["accuracy"] == right.mean()
    scale = net.scale.copy()
    again = net.fit(X + 0.1, Y, **SHORT)
    assert again[0]["train_loss"] < first[-1]["train_loss"]
    assert (net.scale == scale).all()


def test_a_net_is_trained_for_its_own_task():
    """Whatever the labels look like: rows of 0 and 1 may be labels or measures."""
    rows = np.arange(len(X))[:, None] % [2, 3] == 0
    nets = {task: Net([Flatten(), Dense(2)], (3, 8, 8), task=task) for task in ("multilabel", "regress")}
    losses = {task: net.fit(X, rows.astype(int), **SHORT)[-1]["train_loss"] for task, net in nets.items()}
    assert losses["multilabel"] != losses["regress"]
    assert "r2" in nets["regress"].evaluate(X, rows.astype(int))
    with pytest.raises(DataError, match="wanted one class a sample"):
        Net([Flatten(), Dense(2)], (3, 8, 8)).fit(X, rows.astype(int), **SHORT)


# ---- a program whose ranks fail ----

PROGRAM = """
import sys
from mpi4py import MPI
import numpy as np
import distcnn
from distcnn.layers import Dense, Flatten

def late(record):
    if where == "callback" and MPI.COMM_WORLD.rank == 1:
        raise ValueError("planted")

where = sys.argv[1]
data = np.zeros((64, 1, 8, 8), np.uint8), np.arange(64) % 10
wrong = {"larning_rate": 1} if where == "setting" else {}
distcnn.fit([Flatten(), Dense(10)], data=data, epochs=1, progress="none", callback=late, **wrong)
if where == "between" and MPI.COMM_WORLD.rank == 1:
    raise ValueError("planted")
distcnn.fit([Flatten(), Dense(10)], data=data, epochs=1, progress="none")
print("done")
"""


@pytest.mark.parametrize("where", ["callback", "between", "setting"])
def test_an_exception_on_one_rank_ends_the_job_with_one_traceback(mpirun, tmp_path, where):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = mpirun(2, "python", program, where, cwd=tmp_path)
    assert done.returncode != 0
    assert "done" not in done.stdout
    assert done.stderr.count("Traceback (most recent call last)") == 1, done.stderr
    message = (
        "ConfigError: unknown setting 'larning_rate', did you mean learning_rate?"
        if where == "setting"
        else "ValueError: planted"
    )
    assert done.stderr.count(message) == 1


@pytest.mark.mpirun
def test_with_fault_tolerance_the_others_go_on_without_the_rank_that_has_the_exception(tmp_path):
    if not jobs.tolerant():
        pytest.skip("needs an MPI whose ranks can die one by one")
    (tmp_path / "program.py").write_text(PROGRAM)
    done = jobs.survivable(3, "python", "program.py", "between", cwd=tmp_path)
    assert done.stdout.count("done") == 2, done.stderr  # lines of ranks may mix
    assert done.stderr.count("Traceback (most recent call last)") == 1, done.stderr


# ---- what fit takes ----


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"lr": 0.1}, ConfigError, "unknown setting 'lr', did you mean learning_rate"),
        ({"optimiser": "adamw", "optimizer": "sgd"}, ConfigError, "are the same setting"),
        ({"batch_size": 1.5}, ConfigError, "batch_size: 1.5 is not valid; wanted a whole number"),
        ({"resume": "auto"}, ConfigError, "resume 'auto' needs the run's folder; name it by out"),
        ({"data": 3}, DataError, "data are int; wanted paths of files, or arrays"),
        ({"data": (X,)}, DataError, "wanted .x, y., images and labels"),
        ({"data": (X, None)}, DataError, "y_train is object of shape .*; wanted an array of numbers"),
        ({"data": (X, [[1], [1, 2]])}, DataError, "y_train is no array"),
        ({"data": (X, Y[:7])}, DataError, "the arrays: .*100 images and 7 labels"),
        ({"data": (X[0], Y[:1])}, DataError, "the arrays: /train holds 8 images and 1 labels"),
        ({"data": (X, Y), "validation": (XV[:, :4], YV)}, DataError, "the arrays: "),
        ({"data": (X, Y), "validation": "nothing.h5"}, DataError, "nothing.h5 does not exist"),
        (
            {"data": (X, np.arange(100) % 7)},
            NetError,
            "model ends in an output of shape .3,., but the data have 7",
        ),
        ({"model": [Flatten()], "data": (X, Y)}, NetError, "model ends in an output of shape .192,."),
        ({"model": 3, "data": (X, Y)}, ConfigError, "model is 3; wanted a list of layers"),
        (
            {"model": OfPyTorch(), "data": (X, Y)},
            ConfigError,
            "model is Net.*, which is of PyTorch: take the same",
        ),
        ({"model": "lenet6", "data": (X, Y)}, ConfigError, "unknown model 'lenet6', did you mean lenet5"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, kind, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=message) as found:
        distcnn.fit(**{"model": LAYERS, **SHORT, **arguments})
    assert "\n" not in str(found.value)
    assert os.listdir() == []


def test_splits_come_from_paths_and_arrays_in_any_mixture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("data.h5", **{"train/images": X, "train/labels": Y, "test/images": XV, "test/labels": YV})
    write("other.h5", images=XV, labels=YV)
    names = "test_accuracy", "validation_accuracy"
    first = fit(data="data.h5", validation=(XV, YV))
    for sources in (
        {"data": "data.h5", "validation": "other.h5"},
        {"data": (X, Y), "validation": "other.h5", "test": "data.h5"},
        {"data": (list(X), list(Y)), "validation": (XV, YV), "test": (XV, YV)},
    ):
        run = fit(**sources)
        assert run.digest == first.digest
        assert [run.history[-1][name] for name in names] == [first.history[-1][name] for name in names]
    assert first.history[-1]["test_accuracy"] == first.net.evaluate("other.h5")["accuracy"]


def test_a_run_in_a_folder_is_resumed_with_the_same_arrays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wanted = fit(data=(X, Y)).digest
    stopped = fit(data=(X, Y), out="run", max_steps=5)
    assert not stopped.stopped
    resumed = fit(data=(X, Y), out=Path("run"), resume="auto")
    assert resumed.digest == wanted
    assert [each["step"] for each in resumed.history] == [3, 5, 6, 9]
    finished = fit(data=(X, Y), out="run", resume="auto")
    assert (finished.digest, finished.history) == (wanted, resumed.history)


# ---- what a process is like afterwards ----


def test_ctrl_c_stops_after_saving_and_leaves_no_trace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
    run = fit(data=(X, Y), out="run", callback=lambda record: os.kill(os.getpid(), signal.SIGINT), threads=2)
    assert run.stopped
    assert [each["epoch"] for each in run.history] == [1]
    assert run.digest == run.net.digest != run.history[0]["weights_sha256"]  # a step later
    assert fit(data=(X, Y), out="run", resume="auto").digest == fit(data=(X, Y)).digest
    assert handlers == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert not Path("run/.lock").exists()


def test_fit_works_in_a_thread(tmp_path):
    found = []
    thread = threading.Thread(target=lambda: found.append(fit(data=(X, Y)).digest))
    thread.start()
    thread.join()
    assert found == [fit(data=(X, Y)).digest]


ALONE = """
import signal, sys
import numpy as np
import distcnn
assert "numba" not in sys.modules and "mpi4py" not in sys.modules
data = np.zeros((64, 1, 8, 8), np.uint8), np.arange(64) % 10
distcnn.fit([distcnn.layers.Flatten(), distcnn.layers.Dense(10)], data=data, epochs=1, progress="none")
assert "mpi4py.MPI" not in sys.modules
"""


def test_a_process_alone_needs_no_mpi_and_is_told_nothing(run, tmp_path):
    done = run("python", "-c", ALONE, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert os.listdir(tmp_path) == []


# ---- notebooks ----


class Cell(io.StringIO):
    """A stream of a notebook, which no descriptor stands for."""

    encoding = "utf-8"

    def fileno(self):
        raise io.UnsupportedOperation("fileno")


def test_a_notebook_shows_a_bar_in_its_cell(monkeypatch):
    shell = SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setattr(progress_bar, "find_spec", lambda name: None)  # no ipywidgets
    monkeypatch.setattr(sys, "stdout", Cell())
    monkeypatch.setattr(sys, "stderr", Cell())
    from tqdm import tqdm

    monitor = tqdm.monitor_interval
    run = distcnn.fit(LAYERS, data=(X, Y), epochs=2, batch_size=32, hang_timeout=60)
    assert f"epoch 2/2  loss {run.history[-1]['train_loss']:.4f}" in sys.stdout.getvalue()
    assert "100 images 3 x 8 x 8, 3 classes; 1 rank\n" in sys.stdout.getvalue()
    assert "epoch 1/2  loss" in sys.stderr.getvalue()
    assert tqdm.monitor_interval == monitor


# ---- nets that are built layer by layer ----


def test_a_net_grows_by_add():
    net = Net(input_shape=(3, 8, 8), seed=2)
    with pytest.raises(NetError, match="layer 0: Dense"):
        net.add(Dense(3))
    for layer in LAYERS:
        net.add(layer)
    whole = Net(LAYERS, (3, 8, 8), seed=2)
    assert net.digest == whole.digest
    assert repr(net) == repr(whole)
    net.fit(X, Y, **SHORT)
    trained, scale = net.parameters["2.weight"].copy(), net.scale.copy()
    images = XV.transpose(0, 3, 1, 2)
    assert net.predict(images).shape == (40, 3)
    net.add(ReLU())
    net.add(Dense(2))
    assert (net.parameters["2.weight"] == trained).all()
    assert (net.scale == scale).all()
    assert net.predict(images).shape == (40, 2)


def test_a_copy_of_a_net_is_another_net():
    net = fit(data=(X, Y)).net
    images, before = XV.transpose(0, 3, 1, 2), net.digest
    wanted = net.predict(images)
    for copy in pickle.loads(pickle.dumps(net)), deepcopy(net):
        assert (copy.predict(images) == wanted).all()
        assert (copy.digest, copy.classes, copy.layout) == (before, net.classes, "NHWC")
        copy.weights[:] = 0
    assert net.digest == before


def test_a_limit_of_time_counts_from_the_call(monkeypatch):
    monkeypatch.setattr(signals, "_age", lambda: 1e9)
    assert not fit(data=(X, Y), max_time=1e6).stopped
    assert fit(data=(X, Y), max_time=0).stopped


def test_a_net_without_layers_says_so():
    with pytest.raises(NetError, match=r"input_shape is .*; wanted .c, h, w."):
        Net()
    with pytest.raises(NetError, match="the last layer gives shape"):
        Net(input_shape=(1, 8, 8)).loss_and_gradients(np.zeros((2, 1, 8, 8)), [0, 1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net: net.fit(X, Y, out="run"), "Net.fit takes no out"),
        (lambda net: net.fit(X[:, :6], Y), "the images are .3, 6, 8., but the net takes .3, 8, 8."),
        (lambda net: net.evaluate(X), "data are|wanted"),
        (
            lambda net: net.evaluate(X.astype(np.uint8), Y),
            "images of uint8, but the net was trained on float32",
        ),
        (lambda net: net.evaluate(X[:, :6], Y), "was trained on .3, 8, 8."),
        (lambda net: net.evaluate(X, np.repeat("dog", 100)), "is 'dog'; wanted one of 3 classes"),
    ],
)
def test_a_net_refuses_what_it_was_not_made_for(call, message):
    net = fit(data=(X, Y)).net
    with pytest.raises(UserError, match=message):
        call(net)
