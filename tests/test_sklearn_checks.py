"""The estimators pass the checks that scikit-learn has for any estimator, as far as images allow."""

import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed: it belongs to the extra `test`")

from sklearn.utils.estimator_checks import parametrize_with_checks

from distcnn.layers import Conv2D, Dense, Flatten, ReLU
from distcnn.sklearn import CNNClassifier, CNNRegressor


def net(input_shape, outputs):
    """Return the layers of a small net for images of any width."""
    return [Conv2D(8, (1, 3), padding=(0, 1)), ReLU(), Flatten(), Dense(outputs)]


NET = f"{__name__}:net"  # in the names of tests, in place of the address of the function

# The checks fit tables of any width. They are images of one row here, so that no check is left out: those that fit a
# table could not hold without image_shape, as a table is then refused, which tests/test_sklearn.py shows.
TABLES = {"image_shape": (1, -1), "epochs": 10, "batch_size": 16}


@parametrize_with_checks(
    [CNNClassifier(NET, learning_rate=0.1, **TABLES), CNNRegressor(NET, learning_rate=0.01, **TABLES)]
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)
