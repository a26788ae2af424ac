"""Functions that make the parts of a trainer from the settings and the data: batches, net and normalization."""

from __future__ import annotations

import numpy as np

from distcnn.config import augment_spec
from distcnn.config.settings import Config
from distcnn.config.types import STREAM
from distcnn.data.augmentation import Augmentation
from distcnn.data.batches import Batches
from distcnn.data.dataset import Dataset, load
from distcnn.data.statistics import channel_statistics
from distcnn.data.stream.batches import StreamedBatches
from distcnn.errors import ConfigError
from distcnn.models import build, check_memory
from distcnn.network.group_plan import partition_unit
from distcnn.network.net import Net
from distcnn.parallel.comm import Comm
from distcnn.training.optimizers import OPTIMIZERS


def load_data(config: Config, comm: Comm) -> Dataset:
    """Return the dataset that the settings name, with its validation split. Collective."""
    return load(config.data, comm, config.validation_split, config.seed, config.data_mode)


def make_batches(config: Config, dataset: Dataset, comm: Comm) -> Batches:
    """Return the batches of the training split, partitioned among the ranks of `comm`."""
    unit = partition_unit(config.norm_group)
    numbers = config.batch_size, config.seed, comm.rank, comm.size, unit
    if dataset.mode == STREAM:
        return StreamedBatches(dataset.train, *numbers, window=config.window, epochs=config.epochs)
    return Batches(dataset.train, *numbers)


def most_workers(config: Config, batches: Batches) -> int:
    """Return the largest number of threads of this rank that can have work at the same time."""
    return -(-len(batches.share) // partition_unit(config.norm_group))


def require_memory(config: Config, dataset: Dataset, batches: Batches, workers: int, ranks: int) -> None:
    """Raise NetError or DataError unless there is enough memory for model and batches; the net is not made for this.

    workers: the number of threads of this rank.
    ranks: the number of ranks on this node.
    """
    batches.require_memory()
    slots = len(OPTIMIZERS[config.optimizer].slot_names) + bool(config.ema_decay)
    shape, classes = dataset.train.images.shape[1:], len(dataset.classes)
    blocks = _blocks_in_memory(config, batches, workers)
    check_memory(config.model, shape, classes, workers, slots, ranks, blocks)


def _blocks_in_memory(config: Config, batches: Batches, workers: int) -> int:
    """Return the number of blocks that a worker holds in memory at the same time."""
    if isinstance(config.norm_group, int):
        return config.norm_group
    most = min(batches.most, batches.share.stop) - batches.share.start
    return max(-(-most // workers), 1)


def make_net(config: Config, dataset: Dataset) -> Net:
    """Return the net with its initial weights and its augmentation.

    Raises ConfigError and NetError for a model that does not exist or does not fit the settings or the images.
    """
    images = dataset.train.images
    shape, classes = images.shape[1:], len(dataset.classes)
    net = build(config.model, shape, classes, config.seed, config.conv, config.norm_group)
    if config.norm_group != 1 and not any(layer.synchronizes for layer in net.layers):
        raise ConfigError(
            f"--norm-group {config.norm_group} does nothing with --model {config.model}, which has no batch norm: "
            f"leave it out"
        )
    net.label_smoothing = config.label_smoothing
    if config.augment != augment_spec.NONE:
        spec = augment_spec.read(config.augment)
        net.augmentation = Augmentation(spec, shape, images.dtype, net.context)
    return net


def normalization(config: Config, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and standard deviation by which each channel is normalized, float32 [c].

    Without --normalize, images of bytes are scaled to 0 to 1, and other images stay as they are.
    """
    images = dataset.train.images
    if config.normalize == "channel":
        mean, std = dataset.statistics or channel_statistics(images)
        return mean.astype(np.float32), std.astype(np.float32)
    zeros = np.zeros(images.shape[1], np.float32)
    return zeros, zeros + np.float32(255 if images.dtype == np.uint8 else 1)
