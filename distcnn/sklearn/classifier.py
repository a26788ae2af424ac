"""The classifier."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import Tags, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from distcnn.config.types import CLASSIFY, MULTILABEL
from distcnn.sklearn.estimator import CNN


class CNNClassifier(ClassifierMixin, CNN):
    """A convolutional network that tells which of several classes an image is of, or which of several labels it has.

    See `CNN` for the parameters and attributes.

    classes_: the classes, in the order of the columns of `predict_proba`; of labels, which are the columns of y, their
        numbers.
    """

    classes_: np.ndarray

    def fit(self, X: Any, y: Any) -> CNNClassifier:
        """Train on images and their classes or labels, and return this estimator.

        X: (n, h, w), (n, c, h, w), (n, h, w, c) or other axes, or (n, features) with `image_shape`.
        y: (n,), the class of each image: numbers or text; or (n, labels), two or more, 1 for each label that an image
            has, else 0.
        """
        images, labels = self._read(X, y, multi_output=True)
        check_classification_targets(labels)
        if labels.ndim > 1 and labels.shape[1] > 1:
            answers = _answers(labels)
            self.classes_ = np.arange(answers.shape[1])
            self._train(images, answers, task=MULTILABEL)
            return self
        labels = column_or_1d(labels, warn=True)
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y has 1 class, {labels.tolist()[0]!r}; wanted two or more")
        self._train(images, numbers, task=CLASSIFY)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each image, (n,); of labels 1 for each that it has, else 0, (n, labels)."""
        found, _ = self._predictions(X)
        return found.astype(np.int64) if self.net_.task.has_rows else self.classes_[found]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class or label, float32 (n, classes)."""
        return self._predictions(X)[1]

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def _answers(labels: Any) -> np.ndarray:
    """Return rows of labels as uint8 (n, labels); raise ValueError unless they are 0 and 1; labels may be sparse."""
    rows = np.asarray(labels.toarray() if hasattr(labels, "toarray") else labels)
    if not np.isin(rows, (0, 1)).all():
        wanted = "wanted the class of each image, (n,), or 0 and 1 for each label, (n, labels)"
        remedy = "several classes an image are for sklearn.multioutput.MultiOutputClassifier, numbers for CNNRegressor"
        raise ValueError(f"y has rows of {rows.shape[1]} values that are not all 0 and 1; {wanted}: {remedy}")
    return rows.astype(np.uint8)
