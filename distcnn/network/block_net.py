"""A network as training drives it, block by block: layers over flat buffers.

Parameters, and their exact sums, each lie in one array in declaration order.
"""

import copy
import hashlib
from functools import cached_property
from types import MappingProxyType

import numpy as np

from distcnn.config.types import GLOBAL
from distcnn.errors import NetError
from distcnn.kernels.batchnorm import update_running_stats
from distcnn.kernels.block_settings import EPOCH, TRAINING
from distcnn.kernels.float_mode import ieee_mode
from distcnn.lanes import aligned
from distcnn.layers import Softmax
from distcnn.layers.base import BlockContext, listed
from distcnn.network import memory
from distcnn.network.group_plan import Group
from distcnn.network.inference_plan import Inference
from distcnn.network.parameters import Layout
from distcnn.network.plan import Plan
from distcnn.network.shapes import infer_shapes, parameter_counts
from distcnn.numerics.fixed_point import HEAD, OVERFLOWS, QUANTUM, block_limit

STATISTICS_MOMENTUM = 0.1  # PyTorch's: the weight of a batch in the running statistics


class BlockNet:
    """A chain of layers with its parameters, for images of `input_shape` (c, h, w).

    parameters: {"0.weight": array, "0.bias": ..., "4.weight": ...}, float32 views into `weights`; the index counts all
    layers, and what is written into them, parameters["0.bias"][...] = 0, holds from the next call on. arrays: the same,
    and the running statistics. weights: the flat buffer, in declaration order: `trained` numbers of parameters, then
    the running statistics; spans, offsets: see Layout. sums: int64, the head (see distcnn.numerics.fixed_point) and
    the exact sums of the parameters' gradients and of the statistics. scale, shift: (c,) float32, what images are
    multiplied by and shifted by at first; 1 and 0 until they are set. label_smoothing: the part of a training target
    that all classes share; 0 until it is set. augmentation: how images are distorted in `train_group`
    (see distcnn.data.augmentation); None for not at all.

    conv: "winograd" where it is faster, for filters of 3 x 3 and such as are five wide, or "direct" everywhere, which
    rounds a little less. norm_group: of how many blocks of sixteen samples batch norms take their statistics together,
    or "global", of the whole batch; the blocks of a group are in memory together.

    How parameters start, a function of the seed, is told in `Layout.initialise`. Raises NetError for layers that do not
    fit together, or into memory.
    """

    PLANS = "group", "inference"  # the attributes that are made on first use, by each twin for itself

    def __init__(self, layers, input_shape, seed=0, conv="winograd", norm_group=1):
        if conv not in ("winograd", "direct"):
            raise NetError(f"conv is {conv!r}; wanted winograd or direct")
        if norm_group != GLOBAL and not (type(norm_group) is int and norm_group > 0):
            raise NetError(f"norm_group is {norm_group!r}; wanted a whole number from 1, or {GLOBAL!r}")
        if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**63:
            raise NetError(f"seed is {seed!r}; wanted a whole number from 0 to 2**63 - 1")
        self.norm_group = norm_group
        self.layers = listed(layers)
        self.shapes, parameter_specs, statistic_specs = infer_shapes(self.layers, input_shape)
        memory.require(
            self.layers, memory.of_net(parameter_counts(parameter_specs, statistic_specs), self.shapes)
        )
        self.layers = [layer.using(conv) for layer in self.layers]
        layout = Layout(self.layers, self.shapes, parameter_specs, statistic_specs)
        self.trained, self.spans, self.offsets = layout.trained, layout.spans, layout.offsets
        self.weights = aligned((layout.size,))
        self.arrays = layout.views(self.weights)
        self.parameters = MappingProxyType(dict(list(self.arrays.items())[: layout.count]))
        layout.initialize(self.arrays, seed)
        self._layout, self._seed = layout, seed
        self._take_sums()
        self.scale, self.shift = np.ones((2, self.input_shape[0]), np.float32)
        self.shift[:] = 0
        self.label_smoothing, self.augmentation = 0.0, None

    @property
    def input_shape(self):
        """(c, h, w) of an image."""
        return self.shapes[0]

    @property
    def digest(self):
        """SHA-256 over all parameters, then running statistics, in declaration order, little-endian float32, as hex."""
        return hashlib.sha256(self.weights.astype("<f4").tobytes()).hexdigest()

    def normalize(self, mean, std):
        """From now on take off each channel's mean from images and divide by its deviation, both (c,)."""
        mean, std = np.asarray(mean, np.float64), np.asarray(std, np.float64)
        self.scale[:], self.shift[:] = 1 / std, -mean / std

    def worker_copy(self):
        """Return a net over the same weights, whose sums and plans are its own: for another thread."""
        other = copy.copy(self)
        for made in self.PLANS:
            other.__dict__.pop(made, None)
        other._take_sums()
        other.augmentation = self.augmentation and self.augmentation.worker_copy(other.context)
        return other

    def groups(self, blocks):
        """Return the groups that some blocks consist of, as lists; if `global` it is one, perhaps of no block."""
        if self.norm_group == GLOBAL:
            return [blocks]
        return [blocks[k : k + self.norm_group] for k in range(0, len(blocks), self.norm_group)]

    def start(self, blocks, epoch=0):
        """Begin a batch of `blocks` blocks over all ranks: clear the head, take note of the parameters.

        The update has cleared the gradients.
        """
        self._begin(self.group, blocks, epoch)

    def load(self, blocks):
        """Bring a group of blocks of training into lanes, distorted by the augmentation, if any."""
        self.group.load(blocks, self.scale, self.shift, self.augmentation)

    def train_group(self, blocks, done=None, exchange=None):
        """Add loss, counts and gradients of a group of blocks to the sums; the caller has set `ieee_mode`.

        done(offset): sums[offset:] will not change again. exchange: see Group.
        """
        report = None if done is None else lambda k: done(self.offsets[k])
        self.context.settings[TRAINING] = True
        self.load(blocks)
        self.group.forward(exchange)
        self.group.loss(self.label_smoothing)
        self.group.backward(report, exchange)
        self.sums[OVERFLOWS] = self.guard[1]

    def start_evaluation(self, blocks):
        """Begin to evaluate up to so many blocks over all ranks, between two batches: as `start`."""
        self._require_logits()
        self._begin(self.inference, blocks)

    def evaluate_block(self, block):
        """Add a block's loss and counts to the sums' head."""
        with ieee_mode():
            self.inference.load(block, self.scale, self.shift)
            self.inference.forward()
            self.inference.loss()
        self.sums[OVERFLOWS] = self.guard[1]

    def predict_block(self, block):
        """Return two Values for a block: what the last layer gives, and its softmax; `start_evaluation` comes first."""
        with ieee_mode():
            self.inference.load(block, self.scale, self.shift)
            self.inference.forward()
            return self.inference.y, self.inference.softmax()

    def update_running_stats(self, samples):
        """Let the running statistics follow a batch of so many samples, whose sums are known; clear these sums."""
        running, sums = self.weights[self.trained :], self.sums[HEAD + self.trained :]
        if running.size:
            with ieee_mode():
                update_running_stats(running, sums, QUANTUM / samples, STATISTICS_MOMENTUM)

    @cached_property
    def group(self):
        """The plans for training, made (and compiled) on first use."""
        self._require_logits()
        return self._group(input_gradient=False)

    @cached_property
    def inference(self):
        """The plan for evaluation and prediction, made (and compiled) on first use."""
        return Inference(self.layers, self.shapes, *self._arrays())

    # ---- inside ----

    def _take_sums(self):
        """Take what a thread needs for itself."""
        self.sums = aligned((HEAD + self.weights.size,), np.int64)
        self.guard = np.array([block_limit(1), 0])
        self.context = BlockContext(self._seed)
        self._layer_sums = self._layout.by_layer(self._layout.views(self.sums[HEAD:]))

    def _require_logits(self):
        if isinstance(self.layers[-1], Softmax):
            raise NetError(
                "the loss takes logits and has a softmax of its own: leave out the final Softmax()"
            )
        if len(self.shapes[-1]) != 1:
            raise NetError(
                f"the last layer gives shape {self.shapes[-1]}; wanted one number a class: end with Dense"
            )

    def _begin(self, plan, blocks, epoch=0):
        self.context.settings[EPOCH] = epoch
        self.sums[:HEAD] = 0
        self.guard[:] = block_limit(blocks), 0
        with ieee_mode():
            plan.prepare()

    def _group(self, input_gradient):
        first = Plan(self.layers, self.shapes, *self._arrays(), self.context, input_gradient)
        return Group(first, synchronizes=self.norm_group != 1)

    def _arrays(self):
        return self._layout.by_layer(self.arrays), self._layer_sums, self.sums[:HEAD], self.guard
