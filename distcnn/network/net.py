"""A network for a person at the prompt: whole batches, in arrays of the ordinary layout."""

from functools import cached_property

import numpy as np

from distcnn.errors import Diverged, NetError
from distcnn.kernels.block_settings import EPOCH, TRAINING
from distcnn.kernels.float_mode import ieee_mode
from distcnn.lanes import LANES
from distcnn.network.block_net import BlockNet
from distcnn.network.plan import Block
from distcnn.numerics.fixed_point import HEAD, LOSS, QUANTUM, block_limit


class Net(BlockNet):
    """A chain of layers with its parameters, and what a person asks of it: outputs, losses and gradients of a batch.

    Its arguments and attributes are BlockNet's. Images are (n, c, h, w) float32, of any number n.
    """

    PLANS = *BlockNet.PLANS, "_whole_group"
    _seen = None  # the images of the last `forward` in training

    @property
    def gradients(self):
        """Sums over the samples of the last `backward`, float32, by the keys of `parameters`."""
        views = self._layout.views((self.sums[HEAD:] * QUANTUM).astype(np.float32))
        return {key: views[key] for key in self.parameters}

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
        self.context.settings[TRAINING], self.context.settings[EPOCH] = training, 0
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
            self.update_running_stats(len(images))
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
        self.context.settings[TRAINING] = True
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

        Raises NetError for a net whose last layer gives no logits and for labels that are not classes, Diverged for NaN
        and for values beyond the exact sums' range.
        """
        self._require_logits()
        images, labels, (classes,) = self._checked(images), np.asarray(labels), self.shapes[-1]
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

    def _start_statistics(self, samples):
        self.sums[HEAD + self.trained :] = 0
        self.guard[:] = block_limit(-(-samples // LANES)), 0

    def _begin_anew(self, plan, samples):
        self.sums[HEAD:] = 0
        self._begin(plan, -(-samples // LANES))

    @cached_property
    def _whole_group(self):
        return self._group(input_gradient=True)

    def _by_group(self, *lists):
        """Return the groups of several lists, each with something for every block, side by side."""
        return zip(*(self.groups(each) for each in lists), strict=True)

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
