"""Functions that make the parts of a trainer from the settings and the data: batches, net and normalization."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distcnn.config import augment_spec
from distcnn.config.settings import Config
from distcnn.config.tasks import TASKS
from distcnn.config.types import STREAM
from distcnn.data.augmentation import Augmentation
from distcnn.data.batches import Batches
from distcnn.data.dataset import Dataset, load
from distcnn.data.statistics import channel_statistics, target_statistics
from distcnn.data.stream.batches import StreamedBatches
from distcnn.data.wanted import Wanted, words_of
from distcnn.errors import ConfigError
from distcnn.kernels.float_mode import compile_kernels, ieee_mode
from distcnn.layers import Layer
from distcnn.models.base import Network
from distcnn.models.networks import check_memory, network_of, network_text, read_layers
from distcnn.models.user_code import source_hashes
from distcnn.network.group_plan import partition_unit
from distcnn.network.net import Net
from distcnn.parallel.collective import mark_collective, on_all, on_root, together
from distcnn.parallel.comm import Comm
from distcnn.parallel.compile_once import compile_in_turns
from distcnn.training.class_weights import class_weights
from distcnn.training.frozen_parameters import frozen_parameters
from distcnn.training.optimizers import OPTIMIZERS

Saved = tuple[str, str]  # a network in its notation, and the name of its checkpoint, for messages


def load_data(config: Config, comm: Comm) -> Dataset:
    """Return the dataset that the settings name, with the splits that are cut off its training samples. Collective."""
    data, wanted = words_of(config.data) or None, Wanted.of(config)
    splits = config.validation_split, config.seed, config.test_split
    compile_in_turns(comm, compile_kernels)
    with ieee_mode():
        return load(data, comm, *splits, wanted, config.data_mode)


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


def find_network(
    config: Config, dataset: Dataset, comm: Comm, sources: Sequence[str] = (), saved: Saved | None = None
) -> Network:
    """Return the network of a run. Collective; only rank 0 runs the user's function, if there is one.

    sources: the files and modules that the user names now, and which may thus be imported for layers of the user's.
    saved: the network in a checkpoint, which is used instead of the one that the settings name.
    """
    shape, classes = dataset.train.images.shape[1:], len(dataset.classes)
    made = (config.model, shape, classes, sources, dataset.task)
    text, where = saved or (on_root(comm, network_text, *made), config.model)
    layers = on_all(comm, read_layers, text, where, sources)
    hashes = on_all(comm, source_hashes, layers)
    if any(each != hashes for each in comm.allgather(hashes)):
        found = f"the code of {', '.join(hashes)} differs between nodes"
        raise mark_collective(ConfigError(f"{found}: put one copy where all nodes can read it"))
    return Network(text, layers, hashes)


def given_network(layers_of: Callable[..., Any], dataset: Dataset, comm: Comm) -> Network:
    """Return the network of layers that every rank makes in its own process. Collective.

    layers_of: called with the shape (c, h, w) of the images and the number of classes.
    """
    shape, classes = dataset.train.images.shape[1:], len(dataset.classes)
    made = together(comm, layers_of, shape, classes)
    network = on_all(comm, network_of, made, shape, classes, dataset.task)
    found = comm.allgather((network.text, network.user_code))
    other = next((rank for rank, each in enumerate(found) if each != found[0]), None)
    if other is not None:
        what = f"the model on rank {other} is not that on rank 0"
        raise mark_collective(ConfigError(f"{what}: make the same one on every rank"))
    return network


def require_memory(
    config: Config, dataset: Dataset, layers: list[Layer], batches: Batches, workers: int, ranks: int
) -> None:
    """Raise NetError or DataError unless there is enough memory for net and batches; the net is not made for this.

    layers: of the network.
    workers: the number of threads of this rank.
    ranks: the number of ranks on this node.
    """
    batches.require_memory()
    slots = len(OPTIMIZERS[config.optimizer].slot_names) + bool(config.ema_decay)
    blocks = _blocks_in_memory(config, batches, workers)
    check_memory(layers, dataset.train.images.shape[1:], workers, slots, ranks, blocks)


def _blocks_in_memory(config: Config, batches: Batches, workers: int) -> int:
    """Return the number of blocks that a worker holds in memory at the same time."""
    if isinstance(config.norm_group, int):
        return config.norm_group
    most = min(batches.most, batches.share.stop) - batches.share.start
    return max(-(-most // workers), 1)


def make_net(config: Config, dataset: Dataset, layers: list[Layer]) -> Net:
    """Return the net with its initial weights and its augmentation.

    layers: of the network.

    Raises ConfigError and NetError for a network that does not fit the settings or the data.
    """
    images = dataset.train.images
    shape = images.shape[1:]
    net = Net(layers, shape, config.seed, config.conv, config.norm_group, dataset.task)
    if config.norm_group != 1 and not any(layer.synchronizes for layer in net.layers):
        raise ConfigError(
            f"--norm-group {config.norm_group} does nothing with --model {config.model}, which has no batch norm: "
            f"leave it out"
        )
    net.label_smoothing = config.label_smoothing
    net.shared.class_weights = class_weights(config.class_weight, dataset.train.labels, dataset.classes)
    net.shared.freeze(frozen_parameters(config.freeze, net))
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


def standardization(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and standard deviation of each target over the training split, float32 [targets].

    Both are empty for a task that does not standardize its targets.
    """
    if not TASKS[dataset.task].standardizes:
        return np.empty(0, np.float32), np.empty(0, np.float32)
    mean, std = target_statistics(dataset.train.labels)
    return mean.astype(np.float32), std.astype(np.float32)
