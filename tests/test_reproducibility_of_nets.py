"""Every model, and every layer in some net, trains to the same bits on any number of ranks, stopped and resumed too."""

import numpy as np
import pytest

from distcnn import layers
from distcnn.config.settings import Config
from distcnn.data.dataset import Dataset, Split
from distcnn.models import MODELS, Model
from distcnn.parallel.collective import barrier
from distcnn.run import checkpoint
from distcnn.training.trainer import Trainer
from tests.helpers.nets import SMALLEST
from tests.helpers.trainings import train_to

# A batch of nine blocks, the ninth not full, and one of one block.
SAMPLES, BATCH_SIZE, STOP, STEPS = 150, 136, 1, 2


NETS = {
    name: Model(model.layers, (3, 16, 16)) if model.input_shape == (3, 32, 32) else model
    for name, model in MODELS.items()
    if name not in SMALLEST  # these: test_models.test_a_large_model_on_ranks
}


def test_every_layer_is_in_a_net():
    found = {type(each) for net in NETS.values() for each in net.layers(net.input_shape, 10)}
    assert found == {getattr(layers, name) for name in layers.__all__} - {layers.Layer}


def training_of(name, comm):
    """Return a trainer on images of noise."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (SAMPLES, *NETS[name].input_shape), dtype=np.uint8)
    train = Split(images, rng.integers(0, 10, SAMPLES).astype(np.int32))
    config = Config(model=name, batch_size=BATCH_SIZE, learning_rate=0.001, threads=1)
    made = Trainer(config, Dataset("noise", "", tuple("0123456789"), train, None), comm)
    made.compile()
    return made


def resumed(name, comm, path):
    """Return a trainer that continues from a checkpoint."""
    made = training_of(name, comm)
    made.restore(checkpoint.load(path), path)
    return made


BOTH = "every-layer", "lenet5", "resnet20"  # under both MPIs: every kind of layer, and a large net
SERIAL, RESUMED, THREE, TWO = range(4)
GROUPS = SERIAL, RESUMED, RESUMED, THREE, THREE, THREE, TWO, TWO  # the group of each of eight ranks


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in BOTH else pytest.mark.once) for name in NETS]
)
@pytest.mark.mpi(ranks=(8,), timeout=120)
@pytest.mark.slow
def test_the_number_of_ranks_changes_nothing(comm, shared_path, name):
    """Eight ranks train, then one, two and three; three save a checkpoint, from which two others continue."""
    mine, path = GROUPS[comm.rank], shared_path / "checkpoint.h5"
    group = comm.Split(mine, comm.rank)
    trainer = training_of(name, comm)
    untrained = trainer.digest
    wanted = train_to(trainer, STEPS).digest
    assert wanted != untrained
    if mine == THREE:
        trainer = train_to(training_of(name, group), STOP)
        if group.rank == 0:
            checkpoint.save(path, trainer.state())
    barrier(comm)
    if mine != THREE:
        trainer = resumed(name, group, path) if mine == RESUMED else training_of(name, group)
    digest = train_to(trainer, STEPS).digest
    assert comm.allgather(digest) == [wanted] * comm.size
    group.Free()
