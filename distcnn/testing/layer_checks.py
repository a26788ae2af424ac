"""Checks of a layer: right gradients, and bits that depend on nothing but its inputs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from distcnn.lanes import LANES
from distcnn.layers import Flatten, Layer
from distcnn.layers.declarations import Shape
from distcnn.network.net import Net

SAMPLES = 2 * LANES + 5  # two whole blocks, and one with padded lanes
STEP = 2.0**-6  # by which a number is changed for a difference
TOLERANCE = 0.004  # of a difference and a gradient, relative to the largest gradient
MOST = 200  # numbers whose gradients are compared
MOST_ROUGH = 0.25  # the fraction of them at which the layer may have a kink


def check_layer(layer: Layer, shape: Shape, seed: int = 0) -> None:
    """Raise AssertionError, which says what is wrong, unless a layer computes what layers must.

    * The result has the shape that `output_shape` gives, and is the same in training and in inference.
    * The gradients of the input and of the parameters are those of differences, where the layer has no kink.
    * A sample's result does not depend on the other samples, nor on what padded lanes hold; the gradients of a batch do
      not depend on the order of its blocks; a second call gives the same bits. (A layer that synchronizes, such as a
      batch norm, depends on the other samples by definition; so does a random one. They are compared with themselves.)
    * A sample of NaN gives NaN, and leaves the other samples alone.

    layer: the layer.
    shape: the shape of its input without samples: (c, h, w) or (features,).
    seed: of the parameters and the samples.
    """
    image = shape if len(shape) == 3 else (*shape, 1, 1)
    net = Net([layer] if len(shape) == 3 else [Flatten(), layer], image, seed)
    rng = np.random.default_rng(seed)
    for parameter in net.parameters.values():
        parameter += rng.normal(0, 0.1, parameter.shape).astype(np.float32)  # a bias of 0 would hide mistakes
    x = rng.normal(0, 1, (SAMPLES, *image)).astype(np.float32)
    y = net.forward(x)
    dy = rng.normal(0, 1, y.shape).astype(np.float32)
    _check_shape(net, y)
    _check_repetition(net, x, dy)
    if not layer.training_only and not layer.synchronizes:
        _check_inference(net, x)
        _check_samples(net, x, dy)
        _check_blocks(net, x, dy)
        _check_nan(net, x, dy)
        _check_input_gradient(net, x[:1], dy[:1])
        _check_parameter_gradients(net, x[:LANES], dy[:LANES], rng)


def _check_shape(net: Net, y: np.ndarray) -> None:
    wanted = (SAMPLES, *net.shapes[-1])
    assert y.shape == wanted, f"forward gives {y.shape}; output_shape says {wanted}"
    assert np.isfinite(y).all(), "forward gives numbers that are not finite, for an input from -5 to 5"


def _check_inference(net: Net, x: np.ndarray) -> None:
    assert _same(net.predict(x), net.forward(x)), "inference gives other bits than training"


def _check_repetition(net: Net, x: np.ndarray, dy: np.ndarray) -> None:
    """Compare two calls, with another one in between that leaves other numbers in all buffers."""
    first = _all(net, x, dy)
    _all(net, -3 * x[::-1], dy)
    same = map(_same, first, _all(net, x, dy))
    assert all(same), "a second call gives other bits: the layer depends on what its buffers held before"


def _check_samples(net: Net, x: np.ndarray, dy: np.ndarray) -> None:
    y, dx, *_ = _all(net, x, dy)
    for sample in (0, LANES - 1, SAMPLES - 1):
        some = slice(sample, sample + 1)
        alone = _all(net, x[some], dy[some])
        assert _same(alone[0], y[some]), f"forward of sample {sample} alone gives other bits than in a batch"
        assert _same(alone[1], dx[some]), f"dx of sample {sample} alone has other bits than in a batch"


def _check_blocks(net: Net, x: np.ndarray, dy: np.ndarray) -> None:
    whole = 2 * LANES
    swapped = np.r_[LANES:whole, 0:LANES]
    *_, first = _all(net, x[:whole], dy[:whole])
    *_, second = _all(net, x[swapped], dy[swapped])
    remedy = "add them by the functions of distcnn.lanes.sums"
    assert _same(first, second), f"the gradients of the parameters depend on the order of blocks: {remedy}"


def _check_nan(net: Net, x: np.ndarray, dy: np.ndarray) -> None:
    y, broken = net.forward(x), x.copy()
    broken[3] = np.nan
    found = net.forward(broken)
    others = np.arange(len(x)) != 3
    assert np.isnan(found[3]).any(), (
        "a sample of NaN gives numbers: training would not notice that it has diverged"
    )
    assert _same(found[others], y[others]), "a sample of NaN changes other samples"


def _check_input_gradient(net: Net, x: np.ndarray, dy: np.ndarray) -> None:
    """Compare dx with differences; each changed input is a sample of one large batch."""
    _, dx, *_ = _all(net, x, dy)
    flat = x.reshape(-1)
    places = np.unique(np.linspace(0, flat.size - 1, MOST).astype(np.int64))

    def loss(change: float) -> np.ndarray:
        changed = np.repeat(flat[None], len(places), 0)
        changed[np.arange(len(places)), places] += np.float32(change)
        y = net.predict(changed.reshape(-1, *x.shape[1:]))
        return (y.astype(np.float64) * dy).reshape(len(places), -1).sum(1)

    _compare("dx", dx.reshape(-1)[places], loss)


def _check_parameter_gradients(net: Net, x: np.ndarray, dy: np.ndarray, rng: np.random.Generator) -> None:
    """Compare the gradient of each parameter with differences."""
    _all(net, x, dy)
    gradients = {name: gradient.copy() for name, gradient in net.gradients.items()}
    for name, parameter in net.parameters.items():
        places = rng.permutation(parameter.size)[: MOST // 4]
        loss = partial(_losses, net, x, dy, parameter.reshape(-1), places)
        _compare(f"the gradient of {name.partition('.')[2]}", gradients[name].reshape(-1)[places], loss)


def _losses(
    net: Net, x: np.ndarray, dy: np.ndarray, parameter: np.ndarray, places: np.ndarray, change: float
) -> np.ndarray:
    """Return for each place in a parameter the sum of y * dy after that number was changed."""
    found = []
    for place in places:
        before = parameter[place]
        parameter[place] += np.float32(change)
        found.append((net.predict(x).astype(np.float64) * dy).sum())
        parameter[place] = before
    return np.array(found)


def _compare(what: str, gradient: np.ndarray, loss: Callable[[float], np.ndarray]) -> None:
    """Compare a gradient with central differences of a loss, except where two step sizes disagree, as at a kink."""
    wide = (loss(STEP) - loss(-STEP)) / (2 * STEP)
    narrow = (loss(STEP / 2) - loss(-STEP / 2)) / STEP
    scale = TOLERANCE * max(np.abs(wide).max(), np.abs(gradient).max(), 1e-6)
    rough = np.abs(wide - narrow) > scale
    wrong = ~rough & ~(np.abs(gradient - narrow) <= scale)
    if wrong.any():
        first = int(wrong.argmax())
        found = f"{gradient[first]:.6g} instead of {narrow[first]:.6g}"
        raise AssertionError(
            f"{what} differs from differences at {wrong.sum()} of {len(wrong)} places: {found}"
        )
    found = f"the layer has kinks at {rough.sum()} of {len(rough)} places"
    assert rough.mean() <= MOST_ROUGH, f"{what} cannot be checked: {found}"


def _all(net: Net, x: np.ndarray, dy: np.ndarray) -> list[np.ndarray]:
    """Return y, dx and the exact sums of all parameter gradients."""
    y = net.forward(x)
    dx = net.backward(dy)
    return [y, dx, net.sums.copy()]


def _same(first: np.ndarray, second: np.ndarray) -> bool:
    """Return whether two arrays have the same bits."""
    return first.shape == second.shape and first.tobytes() == second.tobytes()
