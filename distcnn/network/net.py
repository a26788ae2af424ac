"""The public class of a network: it computes whole batches, given as arrays (n, c, h, w)."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np

from distcnn.config.tasks import Task
from distcnn.config.types import CLASSIFY
from distcnn.errors import Diverged, NetError
from distcnn.kernels.float_mode import ieee_mode
from distcnn.lanes import LANES
from distcnn.layers.base import Layer
from distcnn.layers.declarations import Shape
from distcnn.network.batch_blocks import blocks_of, pieces_of
from distcnn.network.group_plan import Group
from distcnn.network.label_checks import checked_labels
from distcnn.network.summary import summary
from distcnn.network.targets import Targets
from distcnn.network.weights import Weights
from distcnn.network.worker import Worker
from distcnn.numerics.fixed_point import HEAD, QUANTUM


class Net(Worker):
    """A list of layers with their parameters, which computes outputs, losses and gradients of batches.

    Images are float32 (n, c, h, w), for any n. A net is the first worker over its weights; `worker_copy` makes further
    workers. Users may write into the parameters, as in net.parameters["0.bias"][...] = 0; the next call uses the new
    values.
    """

    _seen: np.ndarray | None = None  # the images of the last `forward` in training

    def __init__(
        self,
        layers: Sequence[Layer] = (),
        input_shape: Shape = (),
        seed: int = 0,
        conv: str = "winograd",
        norm_group: int | str = 1,
        task: str = CLASSIFY,
    ) -> None:
        """Allocate the parameters, and initialize them by the seed as described in `ParameterLayout.initialize`.

        Raises NetError if the layers do not fit together, or do not fit into memory.

        layers: objects from distcnn.layers, or of the user's own subclasses of Layer.
        input_shape: (c, h, w) of an image.
        seed: a whole number from 0.
        conv: "winograd" for Winograd's algorithm where it is faster, for filters of 3 x 3 and those five wide;
            "direct" for the formula everywhere, which rounds a little less.
        norm_group: over how many blocks of sixteen samples batch norms compute their statistics, or "global" for the
            whole batch. All blocks of a group are in memory at the same time.
        task: "classify", "multilabel" or "regress", which determines the loss.
        """
        super().__init__(Weights(layers, input_shape, seed, conv, norm_group, task))

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
        """The shapes between the layers, without samples, beginning with the shape of the input."""
        return self.shared.shapes

    @property
    def norm_group(self) -> int | str:
        """The argument `norm_group` of the constructor."""
        return self.shared.norm_group

    @property
    def parameters(self) -> Mapping[str, np.ndarray]:
        """Views of the parameters, {"0.weight": array, "0.bias": ..., "4.weight": ...}; the index counts all layers."""
        return self.shared.parameters

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Views of the parameters and the running statistics, by the same kind of names."""
        return self.shared.arrays

    @property
    def weights(self) -> np.ndarray:
        """One float32 array: the parameters, `trained` numbers, then the running statistics."""
        return self.shared.flat

    @property
    def trained(self) -> int:
        """How many numbers of `weights` belong to parameters."""
        return self.shared.layout.trained

    @property
    def spans(self) -> list[tuple[int, int, bool]]:
        """For each parameter (start, stop, is_weight): its range in `weights`; False stands for biases and norms."""
        return self.shared.layout.spans

    @property
    def offsets(self) -> list[int]:
        """For each layer the index in `sums` from which on the sums of this layer and all later layers lie."""
        return self.shared.layout.offsets

    @property
    def digest(self) -> str:
        """The SHA-256, in hex, of `weights` as little-endian float32."""
        return self.shared.digest

    @property
    def scale(self) -> np.ndarray:
        """(c,) float32; images are multiplied by it, before `shift` is added."""
        return self.shared.scale

    @property
    def shift(self) -> np.ndarray:
        """(c,) float32; it is added to images after they were multiplied by `scale`."""
        return self.shared.shift

    def normalize(self, mean: np.ndarray, std: np.ndarray) -> None:
        """Set `scale` and `shift` so that they compute (image - mean) / std.

        mean, std: (c,), the mean and the standard deviation of each channel.
        """
        self.shared.normalize(mean, std)

    @property
    def task(self) -> Task:
        """What the net learns."""
        return self.shared.task

    @property
    def targets(self) -> Targets:
        """The standardization of what the net predicts, if its task is to predict numbers."""
        return self.shared.targets

    @property
    def label_smoothing(self) -> float:
        """The fraction of a training target that is spread evenly over all classes; 0 until it is set."""
        return self.shared.label_smoothing

    @label_smoothing.setter
    def label_smoothing(self, smoothing: float) -> None:
        self.shared.label_smoothing = smoothing

    @property
    def gradients(self) -> dict[str, np.ndarray]:
        """The gradients of the last `backward`, summed over its samples, float32, by the keys of `parameters`."""
        views = self.shared.layout.views((self.sums[HEAD:] * QUANTUM).astype(np.float32))
        return {key: views[key] for key in self.parameters}

    def __repr__(self) -> str:
        """Return the call that makes the net, but for its seed and its weights."""
        layers = "".join(f"    {layer!r},\n" for layer in self.layers)
        return f"Net([\n{layers}], {self.input_shape})"

    def summary(self) -> None:
        """Print a table of the layers: output shape, parameters, FLOPs and memory."""
        print(summary(self.layers, self.input_shape))

    # ---- batches ----

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return the output of the last layer, float32 (n, ...), for images (n, c, h, w), as in evaluation.

        The activations of only one block are in memory at a time.
        """
        images = self._checked(images)
        plan, results = self.inference, np.empty((len(images), *self.shapes[-1]), np.float32)
        with ieee_mode():
            plan.prepare()
            for block, result in zip(blocks_of(images), pieces_of(results), strict=True):
                plan.load(block, self.scale, self.shift)
                plan.forward()
                result[...] = plan.y.samples(len(result))
        return results

    def forward(self, images: np.ndarray, training: bool = True) -> np.ndarray:
        """Return the output of the last layer, float32 (n, ...), for images (n, c, h, w).

        images: the batch.
        training: whether Dropout acts (by the position of each sample in the batch), batch norms use the statistics of
            the batch and update their running statistics, and `backward` can be called next.
        """
        images = self._checked(images)
        self._seen = images if training else None
        self.context.training, self.context.epoch = training, 0
        group, results = self._whole_group, np.empty((len(images), *self.shapes[-1]), np.float32)
        with ieee_mode():
            group.prepare()
        self.sums[HEAD + self.trained :] = 0
        self.guard.reset(-(-len(images) // LANES))
        for blocks, of_group in self._by_group(blocks_of(images), pieces_of(results)):
            with ieee_mode():
                group.load(blocks, self.scale, self.shift)
                group.forward()
            for plan, result in zip(group.plans, of_group, strict=True):
                result[...] = plan.y.samples(len(result))
        if training and not self.guard.overflows:
            self.update_running_stats(len(images))
        return results

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """Compute the gradients of the last `forward`: set `gradients`, and return dx, float32 (n, c, h, w).

        The forward pass is computed again, one group of blocks at a time, so that memory does not grow with n.

        dy: the gradient of the output of the last `forward`.
        """
        if self._seen is None:
            raise NetError("backward() needs a forward(images, training=True) before it")
        dy, wanted = np.asarray(dy, np.float32), (len(self._seen), *self.shapes[-1])
        if dy.shape != wanted:
            raise NetError(f"dy has shape {dy.shape}; wanted {wanted}, as forward gave")
        group, results = self._whole_group, np.empty(self._seen.shape, np.float32)
        self._begin_anew(group, len(dy))
        self.context.training = True
        lists = blocks_of(self._seen), pieces_of(dy), pieces_of(results)
        for blocks, dys, of_group in self._by_group(*lists):
            with ieee_mode():
                group.load(blocks, self.scale, self.shift)
                group.forward()
                for plan, dy_of_block in zip(group.plans, dys, strict=True):
                    plan.dy.set_samples(dy_of_block)
                group.backward()
            for plan, result in zip(group.plans, of_group, strict=True):
                result[...] = plan.dx.samples(len(result))
        self._refuse_overflow()
        return results * self.scale[:, None, None]

    def loss_and_gradients(
        self, images: np.ndarray, labels: np.ndarray
    ) -> tuple[float, dict[str, np.ndarray]]:
        """Return the mean loss of a batch, and its gradients, float32, by the keys of `parameters`.

        images: float32 (n, c, h, w).
        labels: what the task of the net takes: integers (n,), the class of each image; 0 and 1 (n, outputs), whether
            an image has a label; or numbers (n, outputs), the targets of each image.

        Raises NetError if the last layer does not give what the loss takes or a label is not valid, and Diverged if a
        value is NaN or beyond the range of the exact sums.
        """
        self._require_outputs()
        images = self._checked(images)
        labels = checked_labels(self.task, labels, len(images), *self.shapes[-1])
        self._begin_anew(self.group, len(images))
        with ieee_mode():
            for blocks in self.groups(blocks_of(images, labels)):
                self.train_group(blocks)
        self._refuse_overflow()
        weight = self.total_weight(len(images))
        loss = self.counters.loss * QUANTUM / weight
        return loss, {key: gradient / np.float32(weight) for key, gradient in self.gradients.items()}

    # ---- inside ----

    @cached_property
    def _whole_group(self) -> Group:
        """The plans for `forward` and `backward`, which also compute dx."""
        return self._group(input_gradient=True)

    def _begin_anew(self, plan: Group, samples: int) -> None:
        self.sums[HEAD:] = 0
        self._begin(plan, -(-samples // LANES))

    def _by_group(self, *lists: list) -> Iterator[tuple]:
        """Cut several lists, each with one entry per block, into groups; yield a tuple of lists for each group."""
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
