"""The promise of these numerics: short trainings, whose weights are the same bits on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

from distcnn.config.settings import Config
from distcnn.data.dataset import Dataset, Split, load
from distcnn.parallel.comm import Comm
from distcnn.training.trainer import Trainer

# By numerics, the digests of all trainings, by model.
PROMISED = {
    2: {
        "lenet5": "f337d853a33150a007ee3067a6b8eba3feb0fb6b8158175bdf112355b32869a8",
        "lenet5-1998": "899ca682e154c577cbf3d31a0434158affd804c91133dab302e955985b7cd2c8",
        "resnet20": "82e23fafed51298b16dbd39c825d9ec2957e8546078a89114edad72618ef2ee0",
        "mlp": "e2c919126d904fee68ad67a496041cac124bcd6a72f891125c353bfdcf92853e",
        "every-layer": "2162250624c8af81c77f642321225e536facc43c13c5d58cdebfa1702c13fc57",
    }
}

STEPS = 2
# Settings, and 1 to use all rows and columns of the digits, or 2 to use every second, in a quarter of the time. Batches
# have eight blocks of samples, so that eight ranks have work.
TRAININGS = (
    (Config(model="lenet5"), 1),
    (Config(model="lenet5-1998"), 1),
    (Config(model="resnet20"), 2),
    (Config(model="mlp", optimizer="adamw", ema_decay=0.9), 1),
    (Config(model="every-layer", clip_norm=1.0), 2),
)


def digests(comm: Comm) -> Iterator[tuple[str, str]]:
    """Train on the embedded digits, and yield (model, SHA-256 of its weights, in hex). Collective."""
    data = load(None, comm)
    for config, step in TRAININGS:
        yield config.model, _train(config, _smaller(data, step), comm)


def summary(found: dict[str, str]) -> str:
    """Return the SHA-256, in hex, over the digests of all models, by name."""
    lines = [f"{value}  {name}\n" for name, value in found.items()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _train(config: Config, data: Dataset, comm: Comm) -> str:
    trainer = Trainer(config, data, comm)
    trainer.compile()
    for blocks in trainer.remaining():
        trainer.step(blocks)
        if trainer.steps == STEPS:
            break
    return trainer.digest


def _smaller(data: Dataset, step: int) -> Dataset:
    """Return the training split with each `step`-th row and column of its images."""
    split = data.train
    return replace(data, train=Split(split.images[:, :, ::step, ::step].copy(), split.labels), test=None)
