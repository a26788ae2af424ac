"""What the estimators have in common: their parameters, their input, training and the outputs of the trained net."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from distcnn.errors import ConfigError
from distcnn.job.fit import fit_as
from distcnn.job.job import LayersOf
from distcnn.job.net import Net
from distcnn.layers import Layer
from distcnn.parallel.serial import SerialComm
from distcnn.sklearn.images import Format, find_format, flattened
from distcnn.sklearn.wording import as_parameter
from distcnn.training.load import evaluation_pool
from distcnn.training.prediction import predict

PIXELS = [np.float32, np.uint8]  # the types of images; other types are converted to the first
SEEDS = 2**31  # a RandomState draws a seed below
OWN = {
    "image_shape",
    "layout",
    "random_state",
    "settings",
    "verbose",
}  # parameters that `distcnn.fit` does not have


class CNN(BaseEstimator):
    """A convolutional network as an estimator.

    Parameters are kept as they are given and checked in `fit`. Those that are not described here, and the keys of
    `settings`, are arguments of `distcnn.fit` or options of `distcnn train`, with the same defaults.

    model: a list of layers, a function (input_shape, outputs) -> layers, or a word as for the option --model.
    image_shape: the shape of an image that lies in a row of X; one size may be -1 and is then inferred. None: X has the
        axes of images itself.
    layout: the axes of X with those of `image_shape`, as in "NHWC"; None: as their sizes show.
    random_state: the seed; a RandomState draws one, None draws one from NumPy's global RandomState.
    threads: for training and prediction; 0: this process's share of the cores.
    settings: further arguments of `distcnn.fit` by name, as in {"validation_split": 0.1}.
    verbose: whether to show progress.

    net_: the trained `Net`.
    history_: the record of each epoch, as in metrics.jsonl.
    digest_: SHA-256, in hex, of the weights.
    n_features_in_: how many numbers an image has.
    """

    net_: Net
    _format: Format

    def __init__(
        self,
        model: str | Iterable[Layer] | LayersOf = "lenet5",
        *,
        image_shape: Sequence[int] | None = None,
        layout: str | None = None,
        epochs: int = 10,
        batch_size: int = 128,
        learning_rate: float = 0.03,
        schedule: str = "cosine",
        warmup_epochs: float = 2.0,
        optimizer: str = "sgd",
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        augment: str = "none",
        normalize: str = "channel",
        random_state: int | np.random.RandomState | None = 0,
        threads: int = 0,
        settings: Mapping[str, Any] | None = None,
        verbose: bool | int = 0,
    ) -> None:
        self.model = model
        self.image_shape = image_shape
        self.layout = layout
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.warmup_epochs = warmup_epochs
        self.optimizer = optimizer
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.augment = augment
        self.normalize = normalize
        self.random_state = random_state
        self.threads = threads
        self.settings = settings
        self.verbose = verbose

    def _read(self, X: Any, y: Any, **checks: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the images [n, c, h, w] and the labels to train on; raise ValueError if they do not fit together.

        checks: what the labels must be, as arguments of `sklearn.utils.check_X_y`.
        """
        table, sample = flattened(X)
        rows, labels = validate_data(self, table, y, dtype=PIXELS, **checks)
        self._format = find_format(len(rows), sample, self.image_shape, self.layout)
        return self._format.images(rows), labels

    def _train(self, images: np.ndarray, labels: np.ndarray, **settings: Any) -> None:
        """Train and keep what is known of the trained net; settings: that the estimator has no parameter for."""
        say = as_parameter(self.get_params(deep=False))
        run = fit_as(say, data=(images, labels), **self._arguments(settings))
        self.net_, self.history_, self.digest_ = run.net, run.history, run.digest

    def _arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of `fit` but for the data; raise ConfigError if `settings` has one of them already."""
        parameters = self.get_params(deep=False)
        made = {name: value for name, value in parameters.items() if name not in OWN}
        made |= {
            "seed": self._seed(),
            "layout": "NCHW",
            "progress": "auto" if self.verbose else "none",
            **given,
        }
        further = dict(self.settings or {})
        twice = sorted({"data", *made} & {*further})
        if twice:
            raise ConfigError(
                f"settings has {twice[0]!r}, which {type(self).__name__} sets itself: leave it out there"
            )
        return made | further

    def _seed(self) -> int:
        """Return the seed of all random numbers."""
        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(SEEDS))

    def _predictions(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the predictions for images and their probabilities, as `training.prediction.predict` does.

        Under mpirun each rank predicts all images by itself, as only some ranks may ask for it.
        """
        images, alone = self._images(X), SerialComm()
        pool = evaluation_pool(alone, self.net_, images, self.threads)
        try:
            return predict(pool, images, alone)
        finally:
            pool.close()

    def _images(self, X: Any) -> np.ndarray:
        """Return images [n, c, h, w] to predict; raise an exception unless the estimator is fitted and they fit it."""
        check_is_fitted(self)
        table, sample = flattened(X)
        if len(sample) > 1 and sample != self._format.sample:
            fitted = f"{type(self).__name__} was fitted with {self._format.sample}"
            raise ValueError(f"X has images of shape {sample}, but {fitted}")
        return self._format.images(validate_data(self, table, dtype=PIXELS, reset=False))
