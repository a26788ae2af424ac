"""Batch normalization."""

import math
from dataclasses import dataclass

import numpy as np

from distcnn.kernels import batchnorm as kernels
from distcnn.kernels.program import SyncPoint
from distcnn.lanes import LANES
from distcnn.layers.argument_order import refuse_as_pytorch, remember_positions
from distcnn.layers.base import Layer, LayerBuffers
from distcnn.layers.checks import check_image, check_positive
from distcnn.layers.declarations import NORM, RELU, Call, Fusion, Parameter, Shape


@remember_positions
@dataclass(frozen=True)
class BatchNorm2D(Layer):
    """y = (x - mean) / sqrt(variance + eps) * weight + bias for each channel (PyTorch's BatchNorm2d).

    In training, the mean and variance are computed over a group of blocks of sixteen samples; the argument `norm_group`
    of the net says how many blocks, by default one. In inference they are running statistics: each batch moves these by
    a tenth towards the mean of the statistics of its samples (Ioffe and Szegedy 2015). If weight and bias are frozen,
    training uses the running statistics, too, and leaves them as they are, as in Keras.

    weight: (c,), starts at 1.
    bias: (c,), starts at 0.
    running_mean, running_var: (c,), running statistics, start at 0 and 1.
    """

    eps: float = 1e-5

    fusion = Fusion(NORM, forward=(RELU,))
    synchronizes = True

    def __post_init__(self) -> None:
        check_positive(self, eps=self.eps)
        if self.by_position and self.eps >= 1:
            refuse_as_pytorch(self, "the channels of the input", f"BatchNorm2D(), or {self} if you mean that")

    def output_shape(self, shape: Shape) -> Shape:
        return check_image(self, shape)

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        return {"weight": Parameter(shape[:1], start=1.0), "bias": Parameter(shape[:1])}

    def statistics(self, shape: Shape) -> dict[str, Parameter]:
        return {"running_mean": Parameter(shape[:1]), "running_var": Parameter(shape[:1], start=1.0)}

    def saved(self, shape: Shape) -> dict[str, Shape]:
        return {"rows": (1, 3, shape[0]), "backward_rows": (1, 2, shape[0])}

    def group_shared(self, shape: Shape) -> dict[str, Shape]:
        return {"statistics": (6, shape[0], LANES)}

    def fold(
        self,
        own: dict[str, np.ndarray],
        weight: np.ndarray,
        bias: np.ndarray,
        folded: dict[str, np.ndarray],
    ) -> list[Call]:
        rows, folded_rows = weight.reshape(len(weight), -1), folded["weight"].reshape(len(weight), -1)
        statistics = own["running_mean"], own["running_var"], self.eps
        arrays = rows, bias, own["weight"], own["bias"], *statistics, folded_rows, folded["bias"]
        return [(kernels.fold_norm, arrays)]

    def forward(self, buffers: LayerBuffers) -> list[Call]:
        own, sums, context = buffers.parameters, buffers.sums, buffers.context
        settings = np.zeros_like(context.settings) if buffers.frozen else context.settings  # as in inference
        x, rows, statistics = buffers.x.inside, buffers.saved["rows"], buffers.group_shared["statistics"]
        running = own["running_mean"], own["running_var"], self.eps, math.prod(buffers.x.shape[1:])
        inputs = x, own["weight"], own["bias"], settings, context.weights, statistics
        outputs = sums["running_mean"], sums["running_var"], buffers.guard, buffers.y.inside
        reduce = kernels.batch_norm_statistics, (rows, *running, settings, statistics)
        normalize = kernels.batch_norm_forward(buffers.relu), (*inputs, *outputs)
        if buffers.frozen:
            return [reduce, normalize]
        moments = kernels.batch_norm_moments, (x, settings, context.weights, rows)
        return [moments, SyncPoint(*reduce), normalize]

    def backward(self, buffers: LayerBuffers) -> list[Call]:
        sums, rows = buffers.sums, buffers.saved["backward_rows"]
        statistics = buffers.group_shared["statistics"]
        inputs = buffers.x.inside, buffers.dy.inside, buffers.context.weights, statistics
        outputs = sums["weight"], sums["bias"], buffers.guard, rows
        calls: list[Call] = []
        if not buffers.frozen:  # else the statistics do not depend on x: slope and offset stay 0
            calls.append((kernels.batch_norm_backward_parameters, (*inputs, *outputs)))
        if buffers.dx and not buffers.frozen:
            calls.append(SyncPoint(kernels.batch_norm_backward_statistics, (rows, statistics)))
        if buffers.dx:
            data = *inputs, buffers.parameters["weight"], buffers.dx.inside
            calls.append((kernels.batch_norm_backward_data, data))
        return calls
