"""Optimizers against PyTorch and the papers' formulas; the number of ranks changes nothing."""

import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from distcnn import Net
from distcnn.config.parser import parse
from distcnn.config.settings import Config
from distcnn.data.dataset import load
from distcnn.errors import CheckpointError, Diverged
from distcnn.layers import BatchNorm2D, Conv2D, Dense, Flatten
from distcnn.numerics.fixed_point import HEAD, SUM_BITS
from distcnn.parallel.serial import SerialComm
from distcnn.run import checkpoint
from distcnn.run.hdf5_image import pack, unpack
from distcnn.training.ema import WeightEMA
from distcnn.training.optimizers import OPTIMIZERS
from distcnn.training.trainer import Trainer
from tests.helpers.arrays import normal
from tests.helpers.digests import digest
from tests.helpers.processors import AVX2, on_x86
from tests.helpers.recipes import RECIPES, bits, train

SAMPLES, RATES = 37, (0.1, 0.07, 0.2, 0.01, 0.05)
PLAIN = Config(momentum=0.8, weight_decay=0.0)


def small_net():
    net = Net([Conv2D(5, 3), BatchNorm2D(), Flatten(), Dense(4)], (2, 5, 6), seed=1)
    net.weights[:] = normal(net.weights.size, seed=2)
    return net


def gradients(net, step):
    """Return a mean gradient, float64, by name."""
    flat = np.random.default_rng(step).normal(size=net.trained)
    ends = np.cumsum([view.size for view in net.parameters.values()])
    parts = zip(net.parameters.items(), np.split(flat, ends[:-1]), strict=True)
    return {name: part.reshape(view.shape) for (name, view), part in parts}


def moved(config):
    """Return a net after some steps."""
    net = small_net()
    optimizer = OPTIMIZERS[config.optimizer](net, config)
    for step, rate in enumerate(RATES, 1):
        flat = np.concatenate([g.ravel() for g in gradients(net, step).values()])
        net.sums[HEAD : HEAD + net.trained] = np.rint(flat * SAMPLES * 2.0**SUM_BITS)
        optimizer.update(SAMPLES, rate, step)
        assert not net.sums[HEAD:].any()
    return net


def is_weight(name):
    return name in ("0.weight", "3.weight")


def moved_by_torch(config, make):
    """Return the parameters by name after the same steps of an optimizer of PyTorch, make(optimizers, groups)."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    net = small_net()
    initial = {name: torch.from_numpy(view.copy()) for name, view in net.parameters.items()}
    theirs = {name: torch.nn.Parameter(tensor) for name, tensor in initial.items()}
    decays = [name for name in theirs if config.decay == "all" or is_weight(name)]
    groups = [
        {"params": [theirs[name] for name in decays], "weight_decay": config.weight_decay},
        {"params": [theirs[name] for name in theirs if name not in decays], "weight_decay": 0.0},
    ]
    optimizer = make(torch.optim, [group for group in groups if group["params"]])
    for step, rate in enumerate(RATES, 1):
        for name, gradient in gradients(net, step).items():
            theirs[name].grad = torch.from_numpy(gradient.astype(np.float32))
        if config.clip_norm:
            torch.nn.utils.clip_grad_norm_(theirs.values(), config.clip_norm)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
    return {name: parameter.detach().numpy() for name, parameter in theirs.items()}


def sgd(**options):
    return lambda optimizers, groups: optimizers.SGD(groups, lr=1.0, momentum=0.8, **options)


def adam(kind, **options):
    return lambda optimizers, groups: getattr(optimizers, kind)(groups, lr=1.0, **options)


THEIRS = {
    "momentum": ({}, sgd()),
    "momentum and decay": ({"weight_decay": 0.1}, sgd()),
    "decay of weights": ({"weight_decay": 0.1, "decay": "weights"}, sgd()),
    "nesterov": ({"optimizer": "nesterov", "weight_decay": 0.1}, sgd(nesterov=True)),
    "clipped": ({"optimizer": "nesterov", "clip_norm": 2.0}, sgd(nesterov=True)),
    "hardly clipped": ({"clip_norm": 1e9}, sgd()),
    "adam": ({"optimizer": "adamw", "momentum": 0.9}, adam("Adam")),
    "adam's options": (
        {"optimizer": "adamw", "momentum": 0.7, "beta2": 0.9, "epsilon": 0.01, "clip_norm": 3.0},
        adam("Adam", betas=(0.7, 0.9), eps=0.01),
    ),
    "adamw": (
        {"optimizer": "adamw", "momentum": 0.9, "weight_decay": 0.2, "decay": "weights"},
        adam("AdamW"),
    ),
}


@pytest.mark.check
@pytest.mark.parametrize(("changes", "make"), THEIRS.values(), ids=THEIRS)
def test_as_pytorch(changes, make):
    config = replace(PLAIN, **changes)
    wanted = moved_by_torch(config, make)
    for name, ours in moved(config).parameters.items():
        assert np.allclose(ours, wanted[name], rtol=1e-5, atol=1e-6), name


@pytest.mark.check
@pytest.mark.parametrize("decay", ["all", "weights"])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_lars_as_its_paper_has_it(weight_decay, decay):
    """You et al. 2017, algorithm 1; biases and norms at the learning rate."""
    config = replace(PLAIN, optimizer="lars", trust_coefficient=0.02, weight_decay=weight_decay, decay=decay)
    net = small_net()
    w = {name: view.astype(np.float64) for name, view in net.parameters.items()}
    v = {name: np.zeros(view.shape) for name, view in net.parameters.items()}
    for step, rate in enumerate(RATES, 1):
        for name, g in gradients(net, step).items():
            beta, local = weight_decay if decay == "all" or is_weight(name) else 0.0, 1.0
            if is_weight(name):
                sizes = np.linalg.norm(w[name]), np.linalg.norm(g)
                local = 0.02 * sizes[0] / (sizes[1] + beta * sizes[0])
            v[name] = 0.8 * v[name] + rate * local * (g + beta * w[name])
            w[name] -= v[name]
    for name, ours in moved(config).parameters.items():
        assert np.allclose(ours, w[name], rtol=1e-5, atol=1e-6), name


def test_lars_moves_weights_that_are_zero():
    net = small_net()
    net.weights[:] = 0
    net.sums[HEAD : HEAD + net.trained] = 2**SUM_BITS
    OPTIMIZERS["lars"](net, replace(PLAIN, optimizer="lars")).update(1, 0.5, 1)
    assert (net.parameters["0.weight"] == -0.5).all()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_slots_never_become_denormal(optimizer):
    net = small_net()
    ours = OPTIMIZERS[optimizer](net, replace(PLAIN, optimizer=optimizer))
    for array in ours.arrays.values():
        array[:] = np.float32(2.0**-100)
    ours.update(1, 1e-30, 1)
    for array in ours.arrays.values():
        assert not array[: net.trained][array[: net.trained] < 2.0**-101].any()
    assert np.isfinite(net.weights).all()


@pytest.mark.check
def test_averages_weigh_the_weights_of_every_step():
    weights = np.zeros(40, np.float32)
    ema, seen = WeightEMA(weights, 0.9), []
    for step in range(1, 8):
        weights[:] = normal(40, seed=step)
        seen.append(weights.copy())
        ema.update(step)
        wanted = np.average(seen, axis=0, weights=[0.9**k for k in reversed(range(step))])
        assert np.allclose(ema.result, wanted, atol=1e-6)
    with ema.in_use():
        assert np.array_equal(weights, ema.result)
    assert np.array_equal(weights, seen[-1])


def test_without_decay_weights_are_their_own_result():
    weights = normal(3)
    ema = WeightEMA(weights, 0.0)
    ema.update(1)
    assert ema.result is weights
    assert ema.arrays == {}


# ---- whole training ----


@pytest.mark.mpi(ranks=(2, 3, 8))
@pytest.mark.slow
def test_the_number_of_ranks_changes_nothing(comm):
    for recipe in RECIPES.values():
        ours = comm.bcast(bits(train(recipe, SerialComm(), steps=4)) if comm.rank == 0 else None)
        assert bits(train(recipe, comm, steps=4)) == ours


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_state_in_the_middle_of_an_epoch_holds_everything(recipe):
    half = train(recipe, SerialComm(), steps=5)
    resumed = train(recipe, SerialComm(), begin=unpack(pack(half.state())))
    assert bits(resumed) == bits(train(recipe, SerialComm()))


@on_x86
@pytest.mark.slow
def test_code_for_avx2(run):
    script = "import json; from distcnn.parallel.serial import SerialComm; from tests.helpers import recipes as r; "
    script += "trained = [r.train(each, SerialComm(), steps=4) for each in r.RECIPES.values()]; "
    script += "print(json.dumps([each.digest for each in trained]))"
    done = run("python", "-c", script, env=AVX2)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [train(each, SerialComm(), steps=4).digest for each in RECIPES.values()]


def test_a_state_without_the_optimizer_s_arrays_is_refused():
    trainer = train(RECIPES["adam"], SerialComm(), steps=1)
    state = trainer.state()
    del state.auxiliary_state["squares"]
    with pytest.raises(CheckpointError, match=r"are averages, means, .* need averages, means, squares;"):
        trainer.restore(state, "here")


def test_evaluation_uses_the_averages_and_leaves_the_weights():
    trainer = train(RECIPES["adam"], SerialComm(), steps=6)
    before, found = bits(trainer), trainer.evaluations()["test"]
    assert bits(trainer) == before
    assert trainer.digest == trainer.state().digest or trainer.state().digest == ""
    trainer.net.weights[:] = trainer.replica.ema.result
    assert trainer.evaluations()["test"] == found
    trainer.net.weights[:] = 0
    trainer.replica.ema.result[:] = 0
    assert trainer.evaluations()["test"] != found


def test_divergence_is_found_before_the_update():
    trainer = train(RECIPES["adam"], SerialComm(), steps=2)
    trainer.net.weights[0] = np.nan
    before = bits(trainer)
    with pytest.raises(Diverged):
        trainer.step(next(trainer.remaining()))
    assert bits(trainer) == before


def test_memory_does_not_grow_with_the_batch():
    """A batch of all 1442 images at once: their activations would take 60 MB."""
    peaks = []
    for size in ("32", "100000"):
        trainer = Trainer(
            parse(["--batch-size", size], "test").config, load(None, SerialComm()), SerialComm()
        )
        trainer.compile()
        blocks = next(trainer.remaining())
        tracemalloc.start()
        trainer.step(blocks)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert trainer.progress.totals.samples == 1442
    assert peaks[1] < peaks[0] + 2**19


@pytest.mark.mpi(ranks=(3,))
def test_a_run_goes_on_with_other_ranks_and_is_verified(call):
    words = "distcnn.train", "--out", "run", *RECIPES["adam"]
    digest(call(*words, "--max-steps", 9))
    _, stopped = checkpoint.newest("run/checkpoints", pytest.fail)
    last = digest(call(*words, "--max-steps", 14, "--resume", "auto"))
    assert last == train(RECIPES["adam"], SerialComm()).digest
    assert last == train(RECIPES["adam"], SerialComm(), begin=stopped).digest
    for command in ("distcnn.verify", "distcnn.evaluate"):
        assert digest(call(command, "run")) == last
