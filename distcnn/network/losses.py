"""The kernels of each task: its loss, and what makes probabilities of a net's outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from distcnn.config.tasks import Task
from distcnn.config.types import CLASSIFY, MULTILABEL, REGRESS
from distcnn.errors import NetError
from distcnn.kernels.activations import sigmoid_forward, softmax_forward
from distcnn.kernels.jit import Kernel
from distcnn.kernels.loss import sigmoid_cross_entropy, softmax_cross_entropy, squared_error
from distcnn.kernels.weighted_loss import weighted_cross_entropy
from distcnn.layers.base import Layer
from distcnn.layers.declarations import Shape

# Computes the loss of a block; arguments: label smoothing, and the weight of each class, float32, or None.
Compute = Callable[[float, np.ndarray | None], None]


class LossArrays(NamedTuple):
    """What the loss of a block reads and writes.

    z: [1, outputs, 16], the outputs of the net.
    label: [16] or [outputs, 16], as the task says.
    weight: [16], 1 for a sample, 0 for an empty lane.
    rejection: the logit of a class to which no sample belongs, see `kernels.loss`; -inf for none.
    targets: [2, outputs], mean and standard deviation of the targets.
    results: dz, the counters and the guard.
    """

    z: np.ndarray
    label: np.ndarray
    weight: np.ndarray
    rejection: float
    targets: np.ndarray
    results: tuple[np.ndarray, np.ndarray, np.ndarray]


class Loss(NamedTuple):
    """The kernels of a task.

    bind: returns the function that computes the loss of a block, from the arrays of the block; compiles the kernel.
    probabilities: the kernel that makes probabilities of outputs, [blocks, outputs, 1, 1, 16]; None: there are none.
    """

    bind: Callable[[LossArrays], Compute]
    probabilities: Kernel | None = None


def _softmax(arrays: LossArrays) -> Compute:
    kernel, (z, label, weight, rejection, _, results) = softmax_cross_entropy.compiled, arrays

    def compute(smoothing: float, class_weights: np.ndarray | None) -> None:
        if class_weights is None:
            kernel(z, label, weight, rejection, smoothing, *results)
        else:
            weighted = weighted_cross_entropy.compiled
            weighted(z, label, weight, rejection, class_weights, smoothing, *results)

    return compute


def _sigmoid(arrays: LossArrays) -> Compute:
    kernel, (z, label, weight, _, _, results) = sigmoid_cross_entropy.compiled, arrays
    return lambda smoothing, _: kernel(z, label, weight, smoothing, *results)


def _squares(arrays: LossArrays) -> Compute:
    kernel, (z, label, weight, _, (mean, std), results) = squared_error.compiled, arrays
    return lambda smoothing, _: kernel(z, label, weight, mean, std, *results)


LOSSES = {
    CLASSIFY: Loss(_softmax, softmax_forward),
    MULTILABEL: Loss(_sigmoid, sigmoid_forward),
    REGRESS: Loss(_squares),
}


def check_last(task: Task, last: Layer | None, shape: Shape) -> None:
    """Raise NetError unless the last layer of a net gives what the loss of its task takes.

    last: that layer; None if the net has no layers.
    shape: of its output, without samples.
    """
    name = type(last).__name__
    if name in task.not_last:
        raise NetError(f"the loss {task.not_last[name]}")
    if len(shape) != 1:
        wanted = f"wanted one number per {task.output}: end with Dense"
        raise NetError(f"the last layer gives shape {shape}; {wanted}")


def doubts(task: Task, last: Layer) -> Iterator[str]:
    """Yield a line for the user if a net hardly learns its task with this last layer, which limits its outputs."""
    if (name := type(last).__name__) in task.doubtful_last:
        found = f"the network ends in {name}(), though the loss takes outputs of any size"
        yield f"{found}: leave it out, unless you mean it"
