"""A plan: the buffers for one block of sixteen samples and the kernel calls of its forward and backward pass.

It is made once and then executed without deciding anything, block after block, so that a whole forward and backward
pass stays in the cache and memory does not depend on the batch's size. Who executes it in training is a Group.
"""

from functools import reduce
from itertools import accumulate, chain
from typing import NamedTuple

import numpy as np

from distcnn.kernels.loss import softmax_cross_entropy
from distcnn.kernels.pointwise import pack
from distcnn.kernels.program import Program
from distcnn.lanes import LANES, aligned
from distcnn.layers import ReLU
from distcnn.layers.base import NO_BORDER, Border, LayerBuffers, Scratch, Value


class Block(NamedTuple):
    """Up to sixteen samples: images [n, c, h, w] uint8 or float32; in each lane the number, label and weight of one.

    index: [16] int64, any valid number in an empty lane; label: [16] numbers; weight: [16] float32, 0 in an empty lane.
    """

    images: np.ndarray
    index: np.ndarray
    label: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(cls, images, labels, samples):
        """Return the block of these samples, 1 to 16 of them; an empty lane repeats the first."""
        index = np.ascontiguousarray(samples, np.int64)
        if len(samples) < LANES:
            index = np.full(LANES, samples[0], np.int64)
            index[: len(samples)] = samples
        return cls(images, index, labels.take(index), _WEIGHTS[len(samples)])


_WEIGHTS = np.tri(LANES + 1, LANES, -1, dtype=np.float32)  # row n: n ones


class Forward:
    """A block's way forward: what plans for training and for evaluation have in common.

    x: the block's input, y: its output (Value); moment: see Moment.
    """

    def __init__(self, context, x, y):
        self.context, self.x, self.y = context, x, y
        self._label = aligned((LANES,))
        self._pack = {np.dtype(name): pack(name) for name in ("uint8", "float32")}  # compiled on first use

    def _set_calls(self, prepare, forward):
        self._prepare, self.forward_program = Program(prepare), Program(forward)

    def _set_loss(self, rejection, dy, head, guard):
        inputs = self.y.array, self._label, self.context.weights, rejection
        self._loss = softmax_cross_entropy.compiled, inputs, (dy, head, guard)

    def prepare(self):
        """Take note of the parameters: to be called before the first block, and whenever they have changed."""
        self._prepare()

    def load(self, block, scale, shift, augmentation=None):
        """Bring a block into lanes; an image is multiplied by scale and shifted, both [c] float32.

        An augmentation (see distcnn.data.augmentation), if any, distorts it before that.
        """
        self._label[:], self.context.weights[:] = block.label, block.weight
        self.context.samples[:] = block.index
        if augmentation:
            augmentation.load(block, scale, shift, self.x.inside)
        else:
            self._pack[block.images.dtype](block.images, block.index, scale, shift, self.x.inside)

    def forward(self):
        """Compute y from x."""
        self.forward_program()

    def loss(self, smoothing=0.0):
        """Add loss and counts of the labels to the head, and compute dy; smoothing: of the labels."""
        kernel, inputs, outputs = self._loss
        kernel(*inputs, smoothing, *outputs)


class Plan(Forward):
    """One block's way through a chain of layers.

    shapes: the shapes between the layers, input first; parameters, sums: a dict for each layer, of float32 arrays and
    of int64 exact sums; head: the exact sums' head; guard: as in lanes.sums; moment: shared by all plans of a net for a
    group's first block. Gradients go back as far as there are parameters; with `input_gradient`, to the input. first:
    the plan of the group's first block, which prepares the parameters for all of them; None: this one.

    dx and dy: gradients of x and y (Value). way_forward, way_back: the calls. layers_end: for each layer, the last one
    first, how many of the calls of the way back are made when it is done.
    """

    def __init__(
        self, layers, shapes, parameters, sums, head, guard, context, input_gradient=False, first=None
    ):
        self._made_of = layers, shapes, parameters, sums, head, guard
        self._layers, self._shapes = layers, shapes
        borders, gradient_borders = self._borders(), self._gradient_borders()
        over = self._gradients_over_values()
        for i, k in over.items():
            borders[k] = reduce(Border.union, gradient_borders[i : k + 1], borders[k])
        values = self._values(borders, self._aliases())
        shared = {i: values[k] for i, k in over.items()}
        gradients = self._values(gradient_borders, self._gradient_aliases(), shared)
        # Of each value, the input first: whether its gradient is wanted.
        wanted = [input_gradient or any(parameters[:k]) for k in range(len(values))]
        saved, kept_gradients = self._branches(values, wanted)
        super().__init__(context, values[0], values[-1])
        self.values, self.dy, self.dx = values, gradients[-1], gradients[0] if input_gradient else None
        self._buffers, prepare, forward, backward = [], [], [], []
        scratch = Scratch()
        for k, layer in enumerate(layers):
            dx = gradients[k] if wanted[k] else None
            own = {"x": values[k], "y": values[k + 1], "dx": dx, "dy": gradients[k + 1], "context": context}
            own["saved"] = arrays(layer.saved(shapes[k]))
            own["skip"] = saved.get(layer.reads)
            own["dskip"] = kept_gradients.get(layer.reads or layer.saves_as)
            if first:
                buffers = first._buffers[k].for_next_block(**own)
            else:
                buffers = LayerBuffers(**own, parameters=parameters[k], sums=sums[k], guard=guard, number=k)
                buffers.group_shared, buffers.scratch = arrays(layer.group_shared(shapes[k])), scratch
                buffers.relu, buffers.mask = self._fuses_forward(k + 1), self._fuses_backward(k - 1)
                prepare += layer.prepare(buffers)
            self._buffers.append(buffers)
            if not (self._fuses_forward(k) or self._shared(values, k)):
                forward += layer.forward(buffers)
            done_here = self._fuses_backward(k) or self._shared(gradients, k)
            backward.insert(0, [] if done_here else layer.backward(buffers))
        if len(shapes[-1]) == 1:
            self._set_loss(layers[-1].rejection_logit, self.dy.array, head, guard)
        self._set_calls(prepare, forward)
        self.backward_program = Program(chain.from_iterable(backward))
        self.layers_end = list(accumulate(map(len, backward)))

    def for_next_block(self):
        """Return the plan of another block of the group that begins with this one."""
        return Plan(*self._made_of, self.context.for_next_block(), self.dx is not None, first=self)

    # ---- what is fused, and what shares memory ----

    def _is_relu(self, k):
        return 0 <= k < len(self._layers) and isinstance(self._layers[k], ReLU)

    def _fuses_forward(self, k):
        """Tell whether layer k is a ReLU that the layer before it applies."""
        return k > 0 and self._is_relu(k) and self._layers[k - 1].applies_relu

    def _fuses_backward(self, k):
        """Tell whether layer k is a ReLU whose derivative the layer behind it applies."""
        return self._is_relu(k) and k + 1 < len(self._layers) and self._layers[k + 1].applies_mask

    def _aliases(self):
        """Return for each value whether it is the one before, in the same memory."""
        return [False] + [self._fuses_forward(k) or layer.in_place for k, layer in enumerate(self._layers)]

    def _gradient_aliases(self):
        """Return for each gradient whether it takes the place of what it is computed from."""
        return [False] + [layer.gradient_in_place for layer in self._layers]

    def _gradients_over_values(self):
        """Return {i: k} where the gradients i ... k, which are one array, take the memory of value k.

        Layer k allows it, and the layers that made the value do not read it on the way back.
        """
        found = {}
        for k, layer in enumerate(self._layers[1:], 1):
            i = k - (self._fuses_forward(k - 1) and self._fuses_backward(k - 1))
            if layer.gradient_over_input(self._shapes[k]) and not self._layers[i - 1].reads_output:
                found[i] = k
        return found

    def _branches(self, values, wanted):
        """Return by name the outputs that are kept, and the gradients that those who take them add up, if wanted."""
        outputs, gradients = {}, {}
        for k, layer in enumerate(self._layers):
            if layer.saves_as:
                outputs[layer.saves_as] = values[k + 1]
                taken = any(each.reads == layer.saves_as for each in self._layers)
                gradients[layer.saves_as] = Value(self._shapes[k + 1]) if taken and wanted[k + 1] else None
        return outputs, gradients

    def _borders(self):
        pairs = zip(self._layers, self._shapes, strict=False)
        return [*(layer.border(shape) for layer, shape in pairs), NO_BORDER]

    def _gradient_borders(self):
        pairs = zip(self._layers, self._shapes, strict=False)
        return [NO_BORDER, *(layer.gradient_border(shape) for layer, shape in pairs)]

    def _values(self, borders, aliases, given=()):
        """Return a Value for each shape; those that share memory have the widest of their borders.

        given: by number, Values that are there already.
        """
        values = []
        for k, shape in enumerate(self._shapes):
            if aliases[k]:
                values.append(values[-1])
                continue
            if k in given:
                values.append(given[k])
                continue
            group = [k]
            while group[-1] + 1 < len(aliases) and aliases[group[-1] + 1]:
                group.append(group[-1] + 1)
            border = reduce(Border.union, (borders[i] for i in group))
            value = Value(shape, border)
            if k and self._layers[k - 1].is_view(values[-1].border):
                value.array = value.inside = values[-1].array.reshape(value.array.shape)
            values.append(value)
        return values

    def _shared(self, values, k):
        """Tell whether layer k has nothing to do, for its output is a view of its input."""
        return values[k] is not values[k + 1] and np.shares_memory(values[k].array, values[k + 1].array)


def arrays(shapes):
    """Return float32 arrays of these shapes, by name."""
    return {name: aligned(shape) for name, shape in shapes.items()}
