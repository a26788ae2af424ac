"""Models by name: their sizes as published, their training on several ranks, and the list of them."""

import re
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest

from distcnn import models
from distcnn.errors import ConfigError, NetError
from distcnn.layers import Add, Conv2D, Dense
from distcnn.models import MODELS, build, catalog, check, size
from distcnn.models.lenet5_1998 import TABLE, centers
from distcnn.network.plan import Block
from distcnn.network.shapes import infer_shapes
from distcnn.run import checkpoint
from tests.helpers import jobs
from tests.helpers.arrays import normal
from tests.helpers.digests import digest
from tests.helpers.nets import SMALLEST
from tests.helpers.trainings import train_to, trainer_of

EVERY_LAYER = 156 + 72 + 13 + 162 + 1456 + 9280 + 8 + 160 + 2772  # with local connections at 4 x 4
SIZES = {  # parameters and FLOPs, computed by hand
    "mlp": (784 * 300 + 300 + 300 * 100 + 100 + 1010, 2 * (784 * 300 + 300 * 100 + 1000)),
    "full": (784 * 784 + 784 + 7850, 2 * (784 * 784 + 7840)),
    "local": (784 * 26 + 7850, 2 * (784 * 25 + 7840)),
    "convolutional": (4 * 26 + 7850, 2 * (784 * 25 + 7840)),
    "lenet5": (61706, None),
    "lenet5-sigmoid": (61706, None),
    "lenet5-gaussian": (61706, None),
    "lenet5-1998": (60000, None),
    "every-layer": (EVERY_LAYER, None),
    "vgg-small": (550570, None),
    "vgg16": (138_357_544, None),
    "alexnet": (61_100_840, None),
    "resnet20": (269722, None),  # 0.27 million in the paper, 0.46 and 0.85
    "resnet32": (464154, None),
    "resnet56": (853018, None),
}


@pytest.mark.parametrize("name", MODELS)
def test_size(name):
    parameters, flops = size(name)
    assert parameters == SIZES[name][0]
    assert SIZES[name][1] in (None, flops)


def test_the_documentation_has_the_parameters_of_three_ways_to_connect():
    page = Path(jobs.ROOT, "docs", "training.md").read_text()
    for name in ("full", "local", "convolutional"):
        assert re.search(rf"\| `{name}` \|.*\| {size(name)[0]:,} \|", page)


@pytest.mark.parametrize(("name", "n"), [("resnet20", 3), ("resnet32", 5), ("resnet56", 9)])
def test_layers_of_resnets_are_those_of_the_paper(name, n):
    """He et al. 2016, the table of section 4.2: 6n + 2 layers, by size of the output and number of filters."""
    model = MODELS[name]
    layers = model.layers(model.input_shape, model.classes)
    shapes, _, _ = infer_shapes(layers, model.input_shape)
    pairs = list(zip(layers, shapes[1:], strict=True))
    found = Counter(shape for layer, shape in pairs if isinstance(layer, Conv2D))
    assert found == {(16, 32, 32): 1 + 2 * n, (32, 16, 16): 2 * n, (64, 8, 8): 2 * n}
    assert all(layer.taps == (3, 3) for layer in layers if isinstance(layer, Conv2D))
    assert [shape for layer, shape in pairs if isinstance(layer, Dense)] == [(10,)]
    assert sum(found.values()) + 1 == 6 * n + 2
    assert sum(isinstance(layer, Add) for layer in layers) == 3 * n


STEPS = [
    (name, shape)
    for name in MODELS
    for shape in ([SMALLEST[name]] if name in SMALLEST else [(1, 28, 28), (3, 32, 32)])
]


@pytest.mark.parametrize(("name", "shape"), STEPS)
def test_every_model_steps(name, shape):
    net = build(name, shape, 12, seed=0)
    assert net.trained == sum(view.size for view in net.parameters.values())
    loss, gradients = net.loss_and_gradients(normal(3, *shape), np.array([0, 11, 5]))
    assert np.isfinite(loss)
    assert all(np.abs(gradient).max() > 0 for gradient in gradients.values())


@pytest.mark.parametrize(("name", "shape"), STEPS)
def test_blocks_of_every_model_add_up(name, shape):
    """What ranks add up is the same however they share the blocks."""
    net, images, labels = build(name, shape, 12, seed=0), normal(20, *shape), np.arange(20) % 12
    blocks = [Block.of(images, labels, np.arange(16)), Block.of(images, labels, np.arange(16, 20))]

    def sums(own):
        net.sums[:] = 0
        net.start(2)
        for block in own:
            net.train_group([block])
        return net.sums.copy()

    assert np.array_equal(sums(blocks), sums(blocks[1:]) + sums(blocks[:1]))


@pytest.mark.parametrize("name", SMALLEST)
def test_too_small_images_are_refused(name):
    c, h, w = SMALLEST[name]
    with pytest.raises(NetError, match=r"layer \d+: .*: use larger images or a smaller net"):
        build(name, (c, h - 1, w), 10, seed=0)


def test_layers_of_1998_have_the_parameters_of_the_paper():
    net, sizes = build("lenet5-1998", (1, 32, 32), 10, seed=0), {}
    for key, array in net.parameters.items():
        layer = int(key.split(".")[0])
        sizes[layer] = sizes.get(layer, 0) + array.size
    assert list(sizes.values()) == [156, 12, 1516, 32, 48120, 10164]


def test_table_i():
    assert len(TABLE) == 16
    assert sum(map(len, TABLE)) == 60
    assert all(sum(c in row for row in TABLE) == 10 for c in range(6))


def test_pictures_of_classes_differ():
    codes = centers(47)
    assert codes.shape == (47, 84)
    assert set(np.unique(codes)) == {-1, 1}
    distances = (codes[:, None] != codes).sum(axis=2) + 84 * np.eye(47)
    assert distances.min() >= 10


def test_unknown_names_are_told_the_nearest():
    with pytest.raises(ConfigError, match="did you mean lenet5-1998"):
        check("lenet5_1998")


def test_a_file_in_the_folder_is_a_model(tmp_path, monkeypatch):
    """No list names the modules of distcnn.models."""
    text = "from distcnn.layers import Dense, Flatten\nfrom distcnn.models.base import Model\n"
    text += "MODELS = {'linear': Model(lambda shape, classes: [Flatten(), Dense(classes)], (1, 8, 8))}\n"
    (tmp_path / "linear.py").write_text(text)
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path)])
    found = catalog._declared(models.__path__)
    assert set(found) == {*MODELS, "linear"}
    assert list(found) == sorted(found)
    monkeypatch.setitem(MODELS, "linear", found["linear"])
    assert size("linear") == (650, 2 * 640)


def test_list(run):
    done = run("python", "-m", "distcnn.train", "--list-models")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["model", *MODELS]
    assert ["lenet5-1998", "60,000"] in [line.split()[:2] for line in lines]


@pytest.mark.mpi(ranks=(3,), timeout=180)
def test_running_statistics_survive_a_stop(comm, call):
    """Those of batch norms are the same on any number of ranks, and checkpoints hold them."""
    assert_resumed_equals_uninterrupted(comm, call, "--model", "resnet20")


@pytest.mark.once
@pytest.mark.mpi(ranks=(3,), timeout=180)
def test_a_large_model_on_ranks(comm, call):
    """AlexNet, dropout and 20 million parameters: the same bits on any number of ranks, stopped and resumed.

    VGG-16 at 32 x 32 passes this, too; it is left out, for its 34 million parameters take as long as ten other tests.
    """
    if comm.rank == 0:
        with h5py.File("noise.h5", "w") as file:
            file["train/images"] = np.random.default_rng(0).integers(0, 256, (96, 1, 64, 64), dtype=np.uint8)
            file["train/labels"] = np.arange(96) % 10
    options = (
        "--data",
        "noise.h5",
        "--model",
        "alexnet",
        "--learning-rate",
        "0.003",
        "--keep-checkpoints",
        "1",
    )
    assert_resumed_equals_uninterrupted(comm, call, *options)


def assert_resumed_equals_uninterrupted(comm, call, *options):
    """Two steps on one rank without a stop give the digest of one step on three ranks and one more on two."""
    options = *options, "--batch-size", "48"
    first = digest(call("distcnn.train", *options, "--out", "a", "--max-steps", 1))
    group = comm.Split(comm.rank > 0, comm.rank)  # the first rank alone, the others together
    trainer = trainer_of(options, group)
    if comm.rank > 0:
        path, state = checkpoint.newest("a/checkpoints", pytest.fail)
        trainer.restore(state, path)
    found = comm.allgather(train_to(trainer, 2).digest)
    assert found == found[:1] * 3
    assert found[0] != first
    group.Free()
