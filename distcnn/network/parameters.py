"""The parameters of a net in flat buffers, in declaration order: where each one lies, and how it starts."""

import math
from itertools import accumulate, pairwise

import numpy as np

from distcnn.layers import ReLU
from distcnn.numerics import random
from distcnn.numerics.fixed_point import HEAD


class Layout:
    """Where the parameters of a chain of layers lie in a flat buffer, and behind them the running statistics.

    declared, followed: each layer's parameters and statistics, as `chain` returns them. size: of the buffer; trained:
    how many of its numbers are parameters; count: how many parameters there are; spans: where each parameter begins and
    ends, and whether it is a weight, that is, no bias and not a norm's; offsets: where, behind a head, the exact sums
    of layer k and all behind it begin.
    """

    def __init__(self, layers, shapes, parameter_specs, statistic_specs):
        self._layers, self._shapes = layers, shapes
        own, saved = (
            [(k, name, each[name]) for k, each in enumerate(of_layers) for name in each]
            for of_layers in (parameter_specs, statistic_specs)
        )
        self._names, self.count = own + saved, len(own)
        sizes = [math.prod(parameter.shape) for _, _, parameter in self._names]
        self._borders = list(accumulate(sizes, initial=0))
        self.size, self.trained = self._borders[-1], self._borders[self.count]
        self.spans = [
            (start, stop, parameter.fan_in > 0)
            for (start, stop), (_, _, parameter) in zip(pairwise(self._borders), own, strict=False)
        ]
        self.offsets = [
            HEAD + sum(size for size, (i, _, _) in zip(sizes, own, strict=False) if i < k)
            for k in range(len(layers))
        ]

    def views(self, flat):
        """Return views into a flat buffer by key, {"0.weight": array, ...}; the index counts all layers."""
        pairs = zip(self._names, pairwise(self._borders), strict=True)
        return {
            f"{k}.{name}": flat[start:stop].reshape(parameter.shape)
            for (k, name, parameter), (start, stop) in pairs
        }

    def by_layer(self, views):
        """Return such views as a dict for each layer."""
        found = [{} for _ in self._layers]
        for (k, name, _), view in zip(self._names, views.values(), strict=True):
            found[k][name] = view
        return found

    def initialize(self, views, seed):
        """Write the values with which training starts, a function of the seed and the parameter's number.

        Weights are uniform with the variance of He et al. 2015: 2 / fan_in before a ReLU, 1 / fan_in elsewhere.
        """
        for number, ((k, _, parameter), view) in enumerate(zip(self._names, views.values(), strict=True)):
            if parameter.fan_in:
                gain = 2.0 if self._meets_relu(k) else 1.0
                view[...] = initial_weights(seed, number, parameter.shape, gain / parameter.fan_in)
            else:
                view[...] = parameter.start

    def _meets_relu(self, k):
        """Tell whether what layer k gives goes through a ReLU before the next layer with parameters."""
        for layer, shape in zip(self._layers[k + 1 :], self._shapes[k + 1 :], strict=False):
            if isinstance(layer, ReLU):
                return True
            if any(parameter.fan_in for parameter in layer.parameters(shape).values()):
                return False
        return False


def initial_weights(seed, number, shape, variance):
    """Return the start of parameter `number`, uniform with mean 0 and the given variance.

    A weight is the middle of one of 2**24 equal cells, by the upper bits of its random word.
    """
    words = random.words(seed, random.WEIGHTS, number, math.prod(shape))
    cells = (words >> np.uint64(40)).astype(np.float64)
    bound = math.sqrt(3.0 * variance)
    return ((cells + 0.5) * 2.0**-23 - 1.0).reshape(shape) * bound
