"""The net as users see it: it can also be trained and evaluated as a whole, on all ranks of a job."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from distcnn.errors import ConfigError
from distcnn.layers.base import Layer
from distcnn.network.net import Net as Computing
from distcnn.network.weights import Weights

if TYPE_CHECKING:
    from distcnn.job.callback import Callback, Record
    from distcnn.job.start import Start
    from distcnn.training.trainer import Trainer

# Settings that `Net.fit` does not take.
OF_THE_NET = ("model", "init_from", "out", "resume", "conv", "norm_group", "task")


class Net(Computing):
    """A list of layers with their parameters: computes outputs, losses and gradients, trains, and evaluates.

    See `distcnn.network.net.Net` for the arguments, and for what it computes.

    classes: the names of the classes on which the net was trained; None if it was not, or if that is not known.
    pixels: the name of the type that says what the pixels of these images mean, such as "uint8"; None likewise.
    layout: the axes of the arrays in which these images were, such as "NHWC"; None likewise.
    """

    classes: tuple[str, ...] | None = None
    pixels: str | None = None
    layout: str | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for pickle and copy; see `distcnn.network.net.Net.__getstate__`."""
        names = "classes", "pixels", "layout"
        return super().__getstate__() | {name: getattr(self, name) for name in names}

    def add(self, layer: Layer) -> None:
        """Append a layer; weights that have been changed since they were initialized stay as they are.

        Raises NetError if the layer does not fit; then the net stays as it is.
        """
        before = self.shared
        arguments = self.input_shape, before.seed, before.conv, before.norm_group, before.task.name
        after, initial = Weights([*before.layers, layer], *arguments), Weights(before.layers, *arguments)
        for name, array in before.arrays.items():
            if not np.array_equal(array, initial.arrays[name], equal_nan=True):
                after.arrays[name][...] = array
        if before.normalization:
            after.normalize(*before.normalization)
        after.label_smoothing = before.label_smoothing
        if len(after.parameters) > len(before.parameters):  # the outputs do not mean yet what they meant
            self.classes = None
        elif before.targets.pair:
            after.targets.set(*before.targets.pair)
        for plan in ("group", "inference", "_whole_group", "_seen"):  # of the old weights
            self.__dict__.pop(plan, None)
        super(Computing, self).__init__(after)

    def fit(
        self,
        x: Any,
        y: Any = None,
        epochs: int | None = None,
        validation: Any = None,
        test: Any = None,
        callback: Callback | None = None,
        **settings: Any,
    ) -> list[Record]:
        """Train this net in place, from its present weights on, and return the record of each epoch.

        Under mpirun every rank calls this with the same net and arguments. What the net was trained with stays: its
        task, the normalization of images, the standardization of targets, and `label_smoothing` unless `settings` has
        another one. A net that was not trained before is normalized as `settings` say.

        x, y: images and labels, or as x alone the path of an HDF5 file or several.
        epochs: passes over the training data; None for the default.
        validation, test: (x, y) or paths.
        callback: as in `distcnn.fit`.
        settings: the options of `distcnn train`, as in batch_size=64; `seed` is that of the net by default.
        """
        from distcnn.job.call import call, require_alike, train
        from distcnn.job.job import Job
        from distcnn.job.wording import of_a_net

        _require_settings(settings)
        known = {name: each for name, each in self._settings.items() if settings.get(name) is None}
        given = {**settings, **known, "model": "layers", "epochs": epochs}
        job = partial(
            Job, layers_of=lambda *_: self.layers, start=self._start(), callback=callback, writes=False
        )
        call(require_alike, {"weights": self.digest})
        sources = {"train": _data(x, y), "validation": validation, "test": test}
        ended = call(train, sources, given, partial(job, say=of_a_net), say=of_a_net)
        self._take(ended.trainer)
        return ended.history

    def evaluate(
        self, x: Any, y: Any = None, split: str | None = None, **settings: Any
    ) -> dict[str, float | None]:
        """Return the mean loss, the accuracy and other metrics, by name, over images and their labels.

        Under mpirun every rank calls this with the same net and arguments; all ranks share the work.

        x, y: as in `fit`.
        split: of a file; None for its test split, or the only one that it has.
        settings: the options of `distcnn evaluate` that say where the arrays are in a file and what axes they have,
            as in layout="NHWC".
        """
        from distcnn.job.call import call
        from distcnn.job.measure import Seen, measure
        from distcnn.job.wording import of_a_net

        seen = Seen(self.input_shape, self.task, self.classes or (), self.pixels or "", self.layout)
        return call(measure, self, _data(x, y), seen, split, settings, say=of_a_net)

    @classmethod
    def of(cls, trainer: Trainer) -> Net:
        """Return the net that a trainer has trained."""
        config = trainer.config
        shape = trainer.net.input_shape
        task = trainer.dataset.task
        net = cls(trainer.network.layers, shape, config.seed, config.conv, config.norm_group, task)
        net._take(trainer)
        return net

    def _start(self) -> Start:
        """Return what training begins with."""
        from distcnn.job.start import Start

        known = self.shared.normalization, self.targets.pair, self.classes or ()
        return Start(self.weights.copy(), self.input_shape, *known, self.pixels or "", self.layout)

    @property
    def _settings(self) -> dict[str, Any]:
        """What the net knows of how it is trained, as settings by name."""
        names = "seed", "conv", "norm_group", "label_smoothing"
        return {name: getattr(self.shared, name) for name in names} | {"task": self.task.name}

    def _take(self, trainer: Trainer) -> None:
        """Take over the weights to predict with, and what there is to know of the data."""
        replica, data = trainer.replica, trainer.dataset
        self.weights[:] = replica.ema.result
        self.normalize(replica.mean, replica.std)
        self.targets.set(*replica.targets)
        self.label_smoothing = trainer.net.label_smoothing
        self.classes, self.pixels = data.classes, data.scale
        self.layout = data.description.settings.get("layout") if data.description else None


def _data(x: Any, y: Any) -> Any:
    """Return the arguments of `fit` and `evaluate` as data of a split."""
    return x if y is None else (x, y)


def _require_settings(settings: dict[str, Any]) -> None:
    """Raise ConfigError for a setting that a net has already, or that needs a run's folder."""
    for name in OF_THE_NET:
        if name in settings:
            raise ConfigError(f"Net.fit takes no {name}, as it trains this net as it is: use distcnn.fit")
    if "data" in settings:
        raise ConfigError("Net.fit takes no data beside x: give their path as x, without y")
