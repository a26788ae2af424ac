"""Norms over groups of blocks in training: one result on any number of ranks and threads, NaN is still located."""

import re
import tracemalloc

import numpy as np
import pytest

from distcnn import Net, models
from distcnn.config.parser import parse
from distcnn.data.dataset import load
from distcnn.errors import ConfigError, LaunchError, NetError, StepDiverged
from distcnn.layers import Add, BatchNorm2D, Conv2D, Dense, Flatten, MaxPool2D, ReLU, SaveAs
from distcnn.models.networks import check_memory
from distcnn.network import memory
from distcnn.network.plan import Block
from distcnn.network.shapes import infer_shapes, parameter_counts
from distcnn.parallel.serial import SerialComm
from distcnn.resilience.diagnose import diagnose, explained
from distcnn.training import setup
from distcnn.training.trainer import Trainer
from tests.helpers.arrays import normal
from tests.helpers.recipes import bits, train

LAYERS = [Conv2D(4, 3, stride=2), BatchNorm2D(), ReLU(), MaxPool2D(2), SaveAs("x"), Conv2D(4, 3, padding=1)]
LAYERS += [BatchNorm2D(), Add("x"), ReLU(), Flatten(), Dense(10)]
WORDS = "--model", "small", "--augment", "shift=1", "--batch-size"
RECIPES = {  # 17 or 25 blocks; the last batch of an epoch has 6 or 16, so that some ranks own none
    "two": [*WORDS, "272", "--norm-group", "2"],
    "three": [*WORDS, "400", "--norm-group", "3"],
    "all": [*WORDS, "272", "--norm-group", "global"],
}
STEPS = 7  # of which an epoch has 6, or 4


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(models.MODELS, "small", models.Model(lambda shape, classes: LAYERS, (1, 28, 28)))


@pytest.mark.mpi(ranks=(2, 3, 8))
@pytest.mark.slow
def test_the_number_of_ranks_changes_nothing(comm):
    for recipe in RECIPES.values():
        ours = comm.bcast(bits(train(recipe, SerialComm(), steps=STEPS)) if comm.rank == 0 else None)
        assert bits(train(recipe, comm, steps=STEPS)) == ours


@pytest.mark.parametrize("threads", ["2", "3"])
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_the_number_of_threads_changes_nothing(recipe, threads):
    wanted = bits(train([*recipe, "--threads", "1"], SerialComm(), steps=STEPS))
    assert bits(train([*recipe, "--threads", threads], SerialComm(), steps=STEPS)) == wanted


def test_groups_change_the_result():
    found = {train(recipe, SerialComm(), steps=1).digest for recipe in RECIPES.values()}
    found |= {train([*WORDS, size], SerialComm(), steps=1).digest for size in ("272", "400")}
    assert len(found) == 5


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_state_in_the_middle_of_an_epoch_holds_everything(recipe):
    half = train(recipe, SerialComm(), steps=3)
    resumed = train(recipe, SerialComm(), begin=half.state(), steps=STEPS)
    assert bits(resumed) == bits(train(recipe, SerialComm(), steps=STEPS))


@pytest.mark.parametrize("norm_group", [1, 2, 3, "global"])
def test_the_sample_with_nan_is_named(norm_group):
    """Behind the first norm its NaN is in all samples of the group."""
    images, labels = normal(90, 1, 28, 28), np.arange(90, dtype=np.int32) % 10
    images[[33, 36], 0, 5, 5] = np.nan
    blocks = [Block.of(images, labels, np.arange(k, min(k + 16, 90))) for k in range(0, 90, 16)]
    net = Net(LAYERS, (1, 28, 28), norm_group=norm_group)
    found = diagnose(net, blocks, len(blocks), 0)
    assert found == (0, "layer 0 (Conv2D) gives NaN or infinity, samples 33, 36")


@pytest.mark.mpi(ranks=(1, 3))
def test_the_sample_with_nan_is_named_on_any_rank(comm):
    """A NaN on the last rank, which a norm over the whole batch has brought to all."""
    run = train(RECIPES["all"], comm, steps=2)
    net, last = run.net, comm.rank == comm.size - 1

    def load(blocks):
        Net.load(net, blocks)
        if last:
            net.group.plans[1].x.inside[..., 3] = np.nan

    net.load, blocks = load, next(run.remaining())
    number = comm.bcast(int(blocks[1].index[3]), comm.size - 1)
    words = rf"layer 0 \(Conv2D\) gives NaN or infinity, sample {number}, on rank {comm.size - 1} of"
    with pytest.raises(StepDiverged) as caught:
        run.step(blocks)
    assert re.search(words, str(explained(comm, caught.value.step, run.recompute(blocks, diagnose))))


def test_more_ranks_than_groups_are_refused():
    class Many(SerialComm):
        size = 9

    with pytest.raises(LaunchError, match=r"8 blocks of 16 samples in 3 groups, .* at most 3 ranks.* to 432"):
        train(["--model", "small", "--norm-group", "3"], Many())


def test_without_a_norm_groups_are_refused():
    with pytest.raises(ConfigError, match="--norm-group 2 does nothing with --model lenet5"):
        train(["--norm-group", "2"], SerialComm())


def test_memory_for_all_blocks_of_a_group_is_wanted(monkeypatch):
    """What is refused must be too large in truth, and the line says how to need less."""
    images, blocks = normal(80, 1, 28, 28), []
    for k in range(0, 80, 16):
        blocks.append(Block.of(images, np.zeros(80, np.int32), np.arange(k, k + 16)))
    net = Net(LAYERS, (1, 28, 28), norm_group=5)
    net.group.load(blocks[:1], net.scale, net.shift)  # all is compiled
    tracemalloc.start()
    try:
        net.group.load(blocks, net.scale, net.shift)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    shapes, parameter_specs, statistic_specs = infer_shapes(LAYERS, (1, 28, 28))
    counts = parameter_counts(parameter_specs, statistic_specs)
    five, one = (sum(memory.of_training(LAYERS, counts, shapes, blocks=count)) for count in (5, 1))
    assert taken / 4 < five - one <= taken
    monkeypatch.setattr(memory, "available", lambda: five - 1)  # without the slots of the optimizer
    memory.require(LAYERS, [one])
    with pytest.raises(NetError, match="use smaller images, a smaller net, a smaller norm group, or fewer"):
        check_memory(LAYERS, (1, 28, 28), 1, 1, 1, 5)


@pytest.mark.parametrize(
    ("group", "threads", "blocks"), [("global", 1, 91), ("global", 3, 31), ("7", 3, 7), ("1", 3, 1)]
)
def test_threads_have_so_many_blocks_in_memory(monkeypatch, group, threads, blocks):
    """The data fills 91 blocks of a batch that is larger than that."""
    wanted = []
    monkeypatch.setattr(setup, "check_memory", lambda *given: wanted.append(given[2:3] + given[-1:]))
    options = "--model", "small", "--batch-size", "3000", "--norm-group", group, "--threads", str(threads)
    config = parse(options, "test").config
    Trainer(config, load(None, SerialComm()), SerialComm())
    assert wanted == [(threads, blocks)]
