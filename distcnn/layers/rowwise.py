"""The calls of a convolution with filters five taps wide by Winograd's algorithm along rows: what `Conv2D` uses there.

What the forward pass transforms is kept for the gradient of the weights; what that transforms, for the data's.
"""

from distcnn.kernels import rowwise as kernels
from distcnn.kernels import tiles
from distcnn.kernels.convolution import bias_gradient
from distcnn.lanes import LANES, aligned
from distcnn.layers.base import Border

POINTS = kernels.POINTS
TAPS = 5


def pays(channels, outputs, width):
    """Tell whether this is faster than directly, for outputs of so many columns.

    Measured, all three directions together: 3 to 8 channels 1.2 times as fast, 6 to 16 1.45 times; 1 to 6 slower. Of
    what pairs of columns compute, little may lie beyond the last column.
    """
    return min(channels, outputs) >= 3 and channels * outputs >= 24 and 5 * width >= 8 * pairs_of(width)


def pairs_of(width):
    """Return the pairs that so many columns make, the last of which may be half empty."""
    return -(-width // 2)


def input_border(shape, padding):
    """Return the zero columns wanted around x (c, h, w)."""
    missing = 2 * pairs_of(_width(shape, padding)) - _width(shape, padding)
    return Border(padding, padding + missing)


def gradient_border(shape, padding):
    """Return the zero columns wanted around dy, with x of shape (c, h, w)."""
    return Border(0, input_border(shape, padding).right - padding)


def points_shape(channels, height, width):
    """Return the shape of what maps of these rows and columns of pairs become, in v or z."""
    return POINTS, channels, height, pairs_of(width), LANES


def kept(shape, padding):
    """Return the shapes of what the forward pass keeps for the backward pass."""
    channels, height, _ = shape
    return {"points": points_shape(channels, height, _width(shape, padding))}


def prepare(wiring):
    """Return the calls that transform the filters."""
    weight = wiring.parameters["weight"]
    wiring.filters = aligned((POINTS, *weight.shape[:3]))
    return [(kernels.rowwise_filters, (weight, wiring.filters))]


def forward(wiring, bias, axes):
    """Return the calls that compute y."""
    outputs, _, width = wiring.y.shape
    points, down = wiring.kept["points"], axes[0]
    x = wiring.x.bordered(input_border(wiring.x.shape, axes[1].padding))
    m = wiring.scratch.array("m", (POINTS, outputs, pairs_of(width), LANES))
    kernel = kernels.rowwise_forward(*tiles.convolution(outputs, pairs_of(width)), wiring.relu)
    arrays = points, wiring.filters, bias, down, m, wiring.y.inside
    return [(kernels.rowwise_inputs, (x, points)), (kernel, arrays)]


def backward_weights(wiring, axes):
    """Return the calls that add the gradients of weight and bias to their sums; they come before those of the data's.

    At the point 1, a pair of dy is the sum of its two columns.
    """
    outputs, channels = wiring.sums["weight"].shape[:2]
    dy = wiring.dy.bordered(gradient_border(wiring.x.shape, axes[1].padding))
    z, d = _gradient_points(wiring), wiring.scratch.array("d", (POINTS, outputs, channels, LANES))
    kernel = kernels.rowwise_backward_weights(*tiles.rowwise_weights(outputs, channels))
    arrays = wiring.kept["points"], z, axes[0], d, wiring.sums["weight"], wiring.guard
    calls = [(kernels.rowwise_gradients, (dy, z)), (kernel, arrays)]
    if "bias" in wiring.sums:
        calls.append((bias_gradient(tiles.sums(outputs)), (z[1:2], wiring.sums["bias"], wiring.guard)))
    return calls


def backward_data(wiring, axes):
    """Return the calls that compute dx."""
    channels, z = wiring.x.shape[0], _gradient_points(wiring)
    m = wiring.scratch.array("m", (POINTS, channels, z.shape[3], LANES))
    kernel = kernels.rowwise_backward_data(*tiles.convolution(channels, z.shape[3]), wiring.mask)
    return [(kernel, (z, wiring.filters, *axes, m, wiring.x.inside, wiring.dx.inside))]


def _gradient_points(wiring):
    return wiring.scratch.array("z", points_shape(*wiring.y.shape))


def _width(shape, padding):
    """Return the columns of y, for x (c, h, w)."""
    return shape[2] + 2 * padding - TAPS + 1
