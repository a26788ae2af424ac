"""A tile's shape depends on the machine and must not change a bit: all candidates of a kernel give the same."""

import numpy as np
import pytest

from distcnn.bench import tiles as bench
from distcnn.kernels import tile_sizes
from distcnn.layers import Conv2D

KINDS = {
    "convolution": ("CONVOLUTIONS", {"": (Conv2D(9, 5, padding=2), (7, 6, 9))}, bench.convolution_rows),
    "winograd along rows": (
        "CONVOLUTIONS",
        {"": (Conv2D(3, 5, padding=2), (8, 3, 4))},
        bench.winograd_along_rows,
    ),
    "dense": ("DENSE", {"": (53, 13)}, bench.dense_rows),
    "far apart": ("DENSE", {"": (1024, 13)}, bench.dense_rows),
    "winograd": ("PRODUCTS", {"": (16, 32, 5)}, bench.winograd_points),
}


def outcome(kernel, arguments):
    """Return the bytes of what a kernel computes: exact sums if there are any, else its last argument."""
    arrays = [each for each in arguments if isinstance(each, np.ndarray)]
    result = next((each for each in arrays if each.dtype == np.int64 and each.ndim > 1), arrays[-1])
    result[...] = 0
    kernel(*arguments)
    return result.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_no_tile_changes_a_bit(kind, monkeypatch):
    table, shapes, rows = KINDS[kind]
    monkeypatch.setattr(bench, table, shapes)
    for name, used, made, arguments, _ in rows(every=False):
        results = {tile: outcome(kernel, arguments) for tile, kernel in made.items()}
        assert used in results, name
        assert len(set(results.values())) == 1, name
        assert any(next(iter(results.values()))), name


@pytest.mark.parametrize("outputs", [1, 2, 3, 5, 10, 33])
@pytest.mark.parametrize("features", [16, 17, 47, 1024, 1030, 2048])
def test_dense_tiles_fit_their_matrix(outputs, features):
    rows, columns = tile_sizes.dense_weights(outputs, features)
    groups = -(-features // 16)
    assert rows <= outputs
    assert groups % columns == 0
    assert 16 * columns <= features
