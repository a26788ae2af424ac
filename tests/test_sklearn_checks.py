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

# The checks fit tables of any width. They are images of one row here: without image_shape, a table is refused.
TABLES = {"image_shape": (1, -1), "epochs": 10, "batch_size": 16, "learning_rate": 0.1}
CANNOT_HOLD = {
    "check_array_api_input": "images are arrays of NumPy",  # skipped unless SCIPY_ARRAY_API is set
}


@parametrize_with_checks(
    [CNNClassifier(NET, **TABLES), CNNRegressor(NET, **TABLES)],
    expected_failed_checks=lambda estimator: CANNOT_HOLD,
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)
