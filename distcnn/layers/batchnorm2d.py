"""Batch normalisation."""

import math
from dataclasses import dataclass

from distcnn.kernels import batchnorm as kernels
from distcnn.kernels.program import SyncPoint
from distcnn.lanes import LANES
from distcnn.layers.base import Layer, Parameter, check_image, check_positive


@dataclass(frozen=True)
class BatchNorm2D(Layer):
    """y = (x - mean) / sqrt(variance + eps) * weight + bias for each channel (PyTorch's BatchNorm2d).

    In training, mean and variance are those of a group of blocks of sixteen samples, of one block unless the net has
    another `norm_group`; otherwise they are the running ones, which move by a tenth towards each batch's mean over its
    samples (Ioffe and Szegedy 2015).
    weight: (c,), starts at 1; bias: (c,), starts at 0; the statistics running_mean and running_var: (c,), 0 and 1.
    """

    eps: float = 1e-5

    applies_relu = True
    synchronizes = True

    def __post_init__(self):
        check_positive(self, eps=self.eps)

    def output_shape(self, shape):
        return check_image(self, shape)

    def fold(self, own, weight, bias, folded):
        """Return the calls that put weight and bias of the layer before, and this norm, into the arrays `folded`."""
        statistics = own["running_mean"], own["running_var"], self.eps
        rows = weight.reshape(len(weight), -1), folded["weight"].reshape(len(weight), -1)
        return [
            (
                kernels.fold_norm,
                (rows[0], bias, own["weight"], own["bias"], *statistics, rows[1], folded["bias"]),
            )
        ]

    def parameters(self, shape):
        return {"weight": Parameter(shape[:1], start=1.0), "bias": Parameter(shape[:1])}

    def statistics(self, shape):
        return {"running_mean": Parameter(shape[:1]), "running_var": Parameter(shape[:1], start=1.0)}

    def saved(self, shape):
        return {"rows": (1, 3, shape[0]), "backward_rows": (1, 2, shape[0])}

    def group_shared(self, shape):
        return {"statistics": (6, shape[0], LANES)}

    def forward(self, buffers):
        own, sums, saved, when = buffers.parameters, buffers.sums, buffers.saved, buffers.context
        x, statistics = buffers.x.inside, buffers.group_shared["statistics"]
        running = own["running_mean"], own["running_var"], self.eps, math.prod(buffers.x.shape[1:])
        inputs = x, own["weight"], own["bias"], when.settings, when.weights, statistics
        outputs = sums["running_mean"], sums["running_var"], buffers.guard, buffers.y.inside
        return [
            (kernels.batch_norm_moments, (x, when.settings, when.weights, saved["rows"])),
            SyncPoint(kernels.batch_norm_statistics, (saved["rows"], *running, when.settings, statistics)),
            (kernels.batch_norm_forward(buffers.relu), (*inputs, *outputs)),
        ]

    def backward(self, buffers):
        sums, rows, statistics = (
            buffers.sums,
            buffers.saved["backward_rows"],
            buffers.group_shared["statistics"],
        )
        inputs = buffers.x.inside, buffers.dy.inside, buffers.context.weights, statistics
        outputs = sums["weight"], sums["bias"], buffers.guard, rows
        calls = [(kernels.batch_norm_backward_parameters, (*inputs, *outputs))]
        if buffers.dx:
            data = *inputs, buffers.parameters["weight"], buffers.dx.inside
            calls.append(SyncPoint(kernels.batch_norm_backward_statistics, (rows, statistics)))
            calls.append((kernels.batch_norm_backward_data, data))
        return calls
