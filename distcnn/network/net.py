"""A network as users call it: whole batches, in arrays of the ordinary layout."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np

from distcnn.errors import Diverged, NetError
from distcnn.kernels.float_mode import ieee_mode
from distcnn.lanes import LANES
from distcnn.layers.base import Layer
from distcnn.layers.declarations import Shape
from distcnn.network.group_plan import Group
from distcnn.network.plan import Block
from distcnn.network.weights import Weights
from distcnn.network.worker import Worker
from distcnn.numerics.fixed_point import HEAD, QUANTUM


class Net(Worker):
    """A chain of layers with its parameters, and the outputs, losses and gradients of batches.

    Images are (n, c, h, w) float32, of any number n. A net is the first worker over its weights; `worker_copy` makes
    others. What is written into parameters, net.parameters["0.bias"][...] = 0, holds from the next call on.
    """

    _seen: np.ndarray | None = None  # the images of the last `forward` in training

    def __init__(
        self,
        layers: Sequence[Layer],
        input_shape: Shape,
        seed: int = 0,
        conv: str = "winograd",
        norm_group: int | str = 1,
    ) -> None:
        """Allocate the parameters and start them as a function of the seed, see `ParameterLayout.initialize`.

        Raises NetError for layers that do not fit together, or into memory.

        layers: from distcnn.layers, or of one's own classes.
        input_shape: (c, h, w) of an image.
        seed: a whole number from 0.
        conv: "winograd" for Winograd's algorithm where it is faster, for filters of 3 x 3 and those five wide;
            "direct" for the formula everywhere, which rounds a little less.
        norm_group: of how many blocks of sixteen samples batch norms take their statistics together, or "global" for
            the whole batch. The blocks of a group are in memory together.
        """
        super().__init__(Weights(layers, input_shape, seed, conv, norm_group))

    # ---- the weights ----

    @property
    def layers(self) -> list[Layer]:
        """The layers."""
        return self.shared.layers

    @property
    def input_shape(self) -> Shape:
        """(c, h, w) of an image."""
        return self.shared.shapes[0]

    @property
    def shapes(self) -> list[Shape]:
        """The shapes between the layers, without samples, that of the input first."""
        return self.shared.shapes

    @property
    def norm_group(self) -> int | str:
        """As given."""
        return self.shared.norm_group

    @property
    def parameters(self) -> Mapping[str, np.ndarray]:
        """Views of the parameters, {"0.weight": array, "0.bias": ..., "4.weight": ...}; the index counts all layers."""
        return self.shared.parameters

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The parameters and the running statistics, by such names."""
        return self.shared.arrays

    @property
    def weights(self) -> np.ndarray:
        """All of them in one float32 array: `trained` numbers of parameters, then the running statistics."""
        return self.shared.flat

    @property
    def trained(self) -> int:
        """How many of the weights are parameters."""
        return self.shared.layout.trained

    @property
    def spans(self) -> list[tuple[int, int, bool]]:
        """For each parameter where it begins and ends in the weights, and whether it is a weight and no bias."""
        return self.shared.layout.spans

    @property
    def offsets(self) -> list[int]:
        """For each layer where the exact sums of it and all layers behind it begin."""
        return self.shared.layout.offsets

    @property
    def digest(self) -> str:
        """SHA-256 over all parameters, then running statistics, in declaration order, little-endian float32, as hex."""
        return self.shared.digest

    @property
    def scale(self) -> np.ndarray:
        """(c,) float32, what images are multiplied by."""
        return self.shared.scale

    @property
    def shift(self) -> np.ndarray:
        """(c,) float32, what is added to images after that."""
        return self.shared.shift

    def normalize(self, mean: np.ndarray, std: np.ndarray) -> None:
        """Set scale and shift so that images lose each channel's mean and are divided by its deviation, both (c,)."""
        self.shared.normalize(mean, std)

    @property
    def label_smoothing(self) -> float:
        """The part of a training target that all classes share; 0 until it is set."""
        return self.shared.label_smoothing

    @label_smoothing.setter
    def label_smoothing(self, smoothing: float) -> None:
        self.shared.label_smoothing = smoothing

    @property
    def gradients(self) -> dict[str, np.ndarray]:
        """Sums over the samples of the last `backward`, float32, by the keys of `parameters`."""
        views = self.shared.layout.views((self.sums[HEAD:] * QUANTUM).astype(np.float32))
        return {key: views[key] for key in self.parameters}

    # ---- batches ----

    def predict(self, images: np.ndarray) -> np.ndarray:
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

    def forward(self, images: np.ndarray, training: bool = True) -> np.ndarray:
        """Return the last layer's output, (n, ...) float32, for images (n, c, h, w); `backward` may follow.

        In training, Dropout drops (a sample's number is its position in the batch), and running statistics move.
        """
        images = self._checked(images)
        self._seen = images if training else None
        self.context.training, self.context.epoch = training, 0
        group, results = self._whole_group, np.empty((len(images), *self.shapes[-1]), np.float32)
        with ieee_mode():
            group.prepare()
        self.sums[HEAD + self.trained :] = 0
        self.guard.reset(-(-len(images) // LANES))
        for blocks, parts in self._by_group(_blocks(images), _parts(results)):
            with ieee_mode():
                group.load(blocks, self.scale, self.shift)
                group.forward()
            for plan, part in zip(group.plans, parts, strict=True):
                part[...] = plan.y.samples(len(part))
        if training and not self.guard.overflows:
            self.update_running_stats(len(images))
        return results

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """Return dx, (n, c, h, w), for the gradient dy of the last `forward`'s output; sets `gradients`.

        The forward pass is computed again, a group of blocks at a time, so that memory does not grow with n.
        """
        if self._seen is None:
            raise NetError("backward() needs a forward(images, training=True) before it")
        dy, wanted = np.asarray(dy, np.float32), (len(self._seen), *self.shapes[-1])
        if dy.shape != wanted:
            raise NetError(f"dy has shape {dy.shape}; wanted {wanted}, as forward gave")
        group, results = self._whole_group, np.empty(self._seen.shape, np.float32)
        self._begin_anew(group, len(dy))
        self.context.training = True
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

    def loss_and_gradients(
        self, images: np.ndarray, labels: np.ndarray
    ) -> tuple[float, dict[str, np.ndarray]]:
        """Return the mean softmax cross-entropy of logits and labels (n,), and its gradients by name, float32.

        Raises NetError for a net whose last layer gives no logits and for labels that are not classes, Diverged for NaN
        and for values beyond the range of the exact sums.
        """
        self._require_logits()
        images, labels, (classes,) = self._checked(images), np.asarray(labels), self.shapes[-1]
        if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
            wanted = f"wanted {len(images)} integers"
            raise NetError(f"labels have shape {labels.shape} of {labels.dtype}; {wanted}")
        if labels.size and not (0 <= labels.min() and labels.max() < classes):
            found = f"labels go from {labels.min()} to {labels.max()}"
            raise NetError(f"{found}; the net has classes 0 to {classes - 1}")
        self._begin_anew(self.group, len(images))
        with ieee_mode():
            for blocks in self.groups(_blocks(images, labels)):
                self.train_group(blocks)
        self._refuse_overflow()
        loss = self.counters.loss * QUANTUM / len(images)
        return loss, {key: gradient / np.float32(len(images)) for key, gradient in self.gradients.items()}

    # ---- inside ----

    @cached_property
    def _whole_group(self) -> Group:
        """The plans for `forward` and `backward`, which give dx as well."""
        return self._group(input_gradient=True)

    def _begin_anew(self, plan: Group, samples: int) -> None:
        self.sums[HEAD:] = 0
        self._begin(plan, -(-samples // LANES))

    def _by_group(self, *lists: list) -> Iterator[tuple]:
        """Return the groups of several lists, each with something for every block, side by side."""
        return zip(*(self.groups(each) for each in lists), strict=True)

    def _checked(self, images: np.ndarray) -> np.ndarray:
        try:
            images = np.ascontiguousarray(images, np.float32)
        except (TypeError, ValueError):
            raise NetError(f"images are {type(images).__name__}; wanted an array of numbers") from None
        if images.ndim != 4 or images.shape[1:] != self.input_shape or not len(images):
            wanted = ", ".join(map(str, self.input_shape))
            raise NetError(f"images have shape {images.shape}; wanted (n, {wanted})")
        return images

    def _refuse_overflow(self) -> None:
        if self.guard.overflows:
            raise Diverged("a loss or gradient is NaN or beyond the range of exact sums, 2**27")


def _blocks(images: np.ndarray, labels: np.ndarray | None = None) -> list[Block]:
    """Return the blocks of a batch of images, in order."""
    labels = np.zeros(len(images)) if labels is None else labels
    return [Block.of(images, labels, samples) for samples in _parts(np.arange(len(images)))]


def _parts(array: np.ndarray) -> list[np.ndarray]:
    """Return the parts of an array of up to sixteen samples each."""
    return [array[start : start + LANES] for start in range(0, len(array), LANES)]
