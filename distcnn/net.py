"""A network: layers over flat buffers. Parameters, and their exact sums, each lie in one array in declaration order."""

import copy
import hashlib
from functools import cached_property
from types import MappingProxyType

import numpy as np

from distcnn import memory
from distcnn.chain import chain, numbers
from distcnn.domains import GLOBAL
from distcnn.errors import Diverged, NetError
from distcnn.exact import HEAD, LOSS, OVERFLOWS, QUANTUM, block_limit
from distcnn.group import Group
from distcnn.inference import Inference
from distcnn.kernels.batchnorm import move_statistics
from distcnn.kernels.compile import ieee_mode
from distcnn.lanes import LANES, aligned
from distcnn.layers import Softmax
from distcnn.layers.base import EPOCH, TRAINING, Moment, listed
from distcnn.parameters import Layout
from distcnn.plan import Block, Plan

STATISTICS_MOMENTUM = 0.1  # PyTorch's: the weight of a batch in the running statistics


class Net:
    """A chain of layers with its parameters, for images of `input_shape` (c, h, w).

    parameters: {"0.weight": array, "0.bias": ..., "4.weight": ...}, float32 views into `weights`; the index counts all
    layers, and what is written into them, parameters["0.bias"][...] = 0, holds from the next call on. arrays: the same,
    and the running statistics. weights: the flat buffer, in declaration order: `trained` numbers of parameters, then
    the running statistics; spans, offsets: see Layout. sums: int64, the head (see distcnn.exact) and the exact sums of
    the parameters' gradients and of the statistics. scale, shift: (c,) float32, what images are multiplied by and
    shifted by at first; 1 and 0 until they are set. label_smoothing: the part of a training target that all classes
    share; 0 until it is set. augmentation: how images are distorted in `train_group` (see distcnn.data.augmentation);
    None for not at all.
    conv: "winograd" where it is faster, for filters of 3 x 3 and such as are five wide, or "direct" everywhere, which
    rounds a little less.
    norm_group: of how many blocks of sixteen samples batch norms take their statistics together, or "global", of the
    whole batch; the blocks of a group are in memory together.

    How parameters start, a function of the seed, is told in `Layout.initialise`. Raises NetError for layers that do not
    fit together, or into memory.
    """

    def __init__(self, layers, input_shape, seed=0, conv="winograd", norm_group=1):
        if conv not in ("winograd", "direct"):
            raise NetError(f"conv is {conv!r}; wanted winograd or direct")
        if norm_group != GLOBAL and not (type(norm_group) is int and norm_group > 0):
            raise NetError(f"norm_group is {norm_group!r}; wanted a whole number from 1, or {GLOBAL!r}")
        if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**63:
            raise NetError(f"seed is {seed!r}; wanted a whole number from 0 to 2**63 - 1")
        self.norm_group = norm_group
        self.layers = listed(layers)
        self.shapes, declared, followed = chain(self.layers, input_shape)
        memory.require(self.layers, memory.of_net(numbers(declared, followed), self.shapes))
        self.layers = [layer.using(conv) for layer in self.layers]
        layout = Layout(self.layers, self.shapes, declared, followed)
        self.trained, self.spans, self.offsets = layout.trained, layout.spans, layout.offsets
        self.weights = aligned((layout.size,))
        self.arrays = layout.views(self.weights)
        self.parameters = MappingProxyType(dict(list(self.arrays.items())[: layout.count]))
        layout.initialise(self.arrays, seed)
        self._layout, self._seed = layout, seed
        self._take_sums()
        self.scale, self.shift = np.ones((2, self.input_shape[0]), np.float32)
        self.shift[:] = 0
        self.label_smoothing, self.augmentation, self._seen = 0.0, None, None

    @property
    def input_shape(self):
        """(c, h, w) of an image."""
        return self.shapes[0]

    @property
    def digest(self):
        """SHA-256 over all parameters, then running statistics, in declaration order, little-endian float32, as hex."""
        return hashlib.sha256(self.weights.astype("<f4").tobytes()).hexdigest()

    @property
    def gradients(self):
        """Sums over the samples of the last `backward`, float32, by the keys of `parameters`."""
        views = self._layout.views((self.sums[HEAD:] * QUANTUM).astype(np.float32))
        return {key: views[key] for key in self.parameters}

    def normalise(self, mean, std):
        """From now on take off each channel's mean from images and divide by its deviation, both (c,)."""
        mean, std = np.asarray(mean, np.float64), np.asarray(std, np.float64)
        self.scale[:], self.shift[:] = 1 / std, -mean / std

    def twin(self):
        """Return a net over the same weights, whose sums and plans are its own: for another thread."""
        other = copy.copy(self)
        for made in ("group", "inference", "_whole_group"):
            other.__dict__.pop(made, None)
        other._take_sums()
        other.augmentation = self.augmentation and self.augmentation.twin(other.moment)
        return other

    # ---- a group of blocks, or one: what training and evaluation are made of ----

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
        self.moment.settings[TRAINING] = True
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

    def move_statistics(self, samples):
        """Let the running statistics follow a batch of so many samples, whose sums are known; clear these sums."""
        running, sums = self.weights[self.trained :], self.sums[HEAD + self.trained :]
        if running.size:
            with ieee_mode():
                move_statistics(running, sums, QUANTUM / samples, STATISTICS_MOMENTUM)

    @cached_property
    def group(self):
        """The plans for training, made (and compiled) on first use."""
        self._require_logits()
        return self._group(input_gradient=False)

    @cached_property
    def inference(self):
        """The plan for evaluation and prediction, made (and compiled) on first use."""
        return Inference(self.layers, self.shapes, *self._arrays())

    # ---- whole batches, for a person at the prompt ----

    def predict(self, images):
        """Return what the last layer gives for images, (n, c, h, w) float32; only a block at a time is in memory."""
        images = self._checked(images)
        plan, results = self.inference, np.empty((len(images), *self.shapes[-1]), np.float32)
        with ieee_mode():
            plan.prepare()
            for block, part in zip(_blocks(images), _parts(results), strict=True):
                plan.load(block, self.scale, self.shift)
                plan.forward()
                part[...] = plan.y.samples(len(part))
        return results

    def forward(self, images, training=True):
        """Return the last layer's output, (n, ...) float32, for images (n, c, h, w); `backward` may follow.

        In training, Dropout is at work (a sample's number is its position), and running statistics move.
        """
        images = self._checked(images)
        self._seen = images if training else None
        self.moment.settings[TRAINING], self.moment.settings[EPOCH] = training, 0
        group, results = self._whole_group, np.empty((len(images), *self.shapes[-1]), np.float32)
        with ieee_mode():
            group.prepare()
        self._start_statistics(len(images))
        for blocks, parts in self._by_group(_blocks(images), _parts(results)):
            with ieee_mode():
                group.load(blocks, self.scale, self.shift)
                group.forward()
            for plan, part in zip(group.plans, parts, strict=True):
                part[...] = plan.y.samples(len(part))
        if training and not self.guard[1]:
            self.move_statistics(len(images))
        return results

    def backward(self, dy):
        """Return dx, (n, c, h, w), for the gradient dy of the last `forward`'s output; sets `gradients`.

        One group of blocks at a time, the forward pass is computed again: memory does not grow with n.
        """
        if self._seen is None:
            raise NetError("backward() needs a forward(images, training=True) before it")
        dy, wanted = np.asarray(dy, np.float32), (len(self._seen), *self.shapes[-1])
        if dy.shape != wanted:
            raise NetError(f"dy has shape {dy.shape}; wanted {wanted}, as forward gave")
        group, results = self._whole_group, np.empty(self._seen.shape, np.float32)
        self._begin_anew(group, len(dy))
        self.moment.settings[TRAINING] = True
        for blocks, dys, parts in self._by_group(_blocks(self._seen), _parts(dy), _parts(results)):
            with ieee_mode():
                group.load(blocks, self.scale, self.shift)
                group.forward()
                for plan, dy_part in zip(group.plans, dys, strict=True):
                    plan.dy.set_samples(dy_part)
                group.backward()
            for plan, part in zip(group.plans, parts, strict=True):
                part[...] = plan.dx.samples(len(part))
        self._refuse_overflow()
        return results * self.scale[:, None, None]

    def loss_and_gradients(self, images, labels):
        """Return the mean softmax cross-entropy of logits and labels (n,), and its gradients by name, float32.

        Raises NetError for labels that are not classes, Diverged for NaN and for values beyond the exact sums' range.
        """
        images, labels = self._checked(images), np.asarray(labels)
        classes = self.shapes[-1][0]
        if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
            raise NetError(
                f"labels have shape {labels.shape} of {labels.dtype}; wanted {len(images)} integers"
            )
        if labels.size and not (0 <= labels.min() and labels.max() < classes):
            raise NetError(
                f"labels go from {labels.min()} to {labels.max()}; the net has classes 0 to {classes - 1}"
            )
        self._begin_anew(self.group, len(images))
        with ieee_mode():
            for blocks in self.groups(_blocks(images, labels)):
                self.train_group(blocks)
        self._refuse_overflow()
        loss = int(self.sums[LOSS]) * QUANTUM / len(images)
        return loss, {key: gradient / np.float32(len(images)) for key, gradient in self.gradients.items()}

    # ---- inside ----

    def _take_sums(self):
        """Take what a thread needs for itself."""
        self.sums = aligned((HEAD + self.weights.size,), np.int64)
        self.guard = np.array([block_limit(1), 0])
        self.moment = Moment(self._seed)
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

    def _start_statistics(self, samples):
        self.sums[HEAD + self.trained :] = 0
        self.guard[:] = block_limit(-(-samples // LANES)), 0

    def _begin(self, plan, blocks, epoch=0):
        self.moment.settings[EPOCH] = epoch
        self.sums[:HEAD] = 0
        self.guard[:] = block_limit(blocks), 0
        with ieee_mode():
            plan.prepare()

    def _begin_anew(self, plan, samples):
        self.sums[HEAD:] = 0
        self._begin(plan, -(-samples // LANES))

    @cached_property
    def _whole_group(self):
        return self._group(input_gradient=True)

    def _group(self, input_gradient):
        first = Plan(self.layers, self.shapes, *self._arrays(), self.moment, input_gradient)
        return Group(first, meets=self.norm_group != 1)

    def _by_group(self, *lists):
        """Return the groups of several lists, each with something for every block, side by side."""
        return zip(*(self.groups(each) for each in lists), strict=True)

    def _arrays(self):
        return self._layout.by_layer(self.arrays), self._layer_sums, self.sums[:HEAD], self.guard

    def _checked(self, images):
        try:
            images = np.ascontiguousarray(images, np.float32)
        except (TypeError, ValueError):
            raise NetError(f"images are {type(images).__name__}; wanted an array of numbers") from None
        if images.ndim != 4 or images.shape[1:] != self.input_shape or not len(images):
            raise NetError(
                f"images have shape {images.shape}; wanted (n, {', '.join(map(str, self.input_shape))})"
            )
        return images

    def _refuse_overflow(self):
        if self.guard[1]:
            raise Diverged("a loss or gradient is NaN or beyond the range of exact sums, 2**27")


def _blocks(images, labels=None):
    """Return the blocks of a batch of images, in order."""
    labels = np.zeros(len(images)) if labels is None else labels
    return [Block.of(images, labels, samples) for samples in _parts(np.arange(len(images)))]


def _parts(array):
    """Return an array's parts of up to sixteen samples."""
    return [array[start : start + LANES] for start in range(0, len(array), LANES)]
