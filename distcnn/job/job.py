"""What a training job is asked to do, by the command line or from Python."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from distcnn.config.settings import Request
from distcnn.job.callback import Callback
from distcnn.layers import Layer
from distcnn.models.base import Shape

LayersOf = Callable[
    [Shape, int], Iterable[Layer]
]  # makes layers from the shape of images and the number of outputs


@dataclass(frozen=True)
class Start:
    """Weights to begin with in place of those that the seed gives.

    weights: float32, all parameters in declaration order, then the running statistics.
    input_shape: (c, h, w) of the images for which they are.
    normalization: the mean and the standard deviation of each channel, float32 [c], by which images are normalized;
        None: as the settings say.
    """

    weights: np.ndarray
    input_shape: tuple[int, ...]
    normalization: tuple[np.ndarray, np.ndarray] | None = None


@dataclass(frozen=True)
class Job:
    """What all ranks do together.

    request: the settings.
    layers_of: makes the layers of the network, on every rank; None: the settings name the network.
    start: the weights to begin with; None: those that the seed gives.
    callback: called after each epoch, on every rank.
    writes: whether there is a run's folder; otherwise nothing is written.
    is_command: whether a command runs it, whose last line is the digest.
    """

    request: Request
    layers_of: LayersOf | None = None
    start: Start | None = None
    callback: Callback | None = None
    writes: bool = True
    is_command: bool = False
