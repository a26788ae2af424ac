"""Batch normalisation."""

from dataclasses import dataclass

from distcnn.kernels import batchnorm as kernels
from distcnn.lanes import LANES
from distcnn.layers.base import Layer, Parameter, check_image, check_positive


@dataclass(frozen=True)
class BatchNorm2D(Layer):
    """y = (x - mean) / sqrt(variance + eps) * weight + bias for each channel (PyTorch's BatchNorm2d).

    In training, mean and variance are those of a block of sixteen samples, whatever the batch; otherwise they are the
    running ones, which move by a tenth towards each batch's mean over its samples (Ioffe and Szegedy 2015).
    weight: (c,), starts at 1; bias: (c,), starts at 0; the statistics running_mean and running_var: (c,), 0 and 1.
    """

    eps: float = 1e-5

    applies_relu = True

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

    def kept(self, shape):
        return dict.fromkeys(("mean", "scale", "products", "totals"), (shape[0], LANES))

    def forward(self, wiring):
        own, sums, kept, moment = wiring.parameters, wiring.sums, wiring.kept, wiring.moment
        inputs = (
            wiring.x.inside,
            own["weight"],
            own["bias"],
            self.eps,
            own["running_mean"],
            own["running_var"],
        )
        outputs = kept["mean"], kept["scale"], sums["running_mean"], sums["running_var"], wiring.guard
        kernel = kernels.batch_norm_forward(wiring.relu)
        return [(kernel, (*inputs, moment.settings, moment.weights, *outputs, wiring.y.inside))]

    def backward(self, wiring):
        kept, sums = wiring.kept, wiring.sums
        inputs = wiring.x.inside, wiring.dy.inside, wiring.moment.weights, kept["mean"], kept["scale"]
        lanes = kept["products"], kept["totals"]
        gradients = sums["weight"], sums["bias"], wiring.guard
        calls = [(kernels.batch_norm_backward_parameters, (*inputs, *gradients, *lanes))]
        data = *inputs, wiring.parameters["weight"], *lanes
        return calls + ([(kernels.batch_norm_backward_data, (*data, wiring.dx.inside))] if wiring.dx else [])
