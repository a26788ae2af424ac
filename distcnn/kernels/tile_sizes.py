"""Which register tile a kernel gets: it follows the shape and the number of registers, and never changes a bit.

A tile that does not fit into the registers spills and is several times slower, so the candidates were measured:
`python -m distcnn.bench tiles` prints each one's share of the peak. Of accumulators and operands 32 Lanes fit into
the registers of AVX-512, 8 into those of AVX2.
"""

from distcnn.lanes.cpu import vector_registers

WIDE = vector_registers() == 32

if WIDE:
    CONVOLUTION = [
        *((m, n) for m in (1, 2) for n in (1, 2)),
        (2, 4),
        (2, 5),
        (2, 7),
        (3, 5),
        (4, 2),
        (4, 4),
        (4, 5),
        (8, 1),
        (8, 2),
    ]
    ONE_ROW = [(1, 4), (1, 7), (1, 8)]  # of one channel a group
    DATA = (1, 2, 3, 4, 6, 8)
    WEIGHTS = 14  # accumulators
    DENSE = (1, 2, 4, 6, 10, 12)
    DENSE_FAR = (1, 4, 8, 16)
    DENSE_WEIGHTS = [(1, 1), (2, 1), (4, 1), (6, 1), (2, 4), (2, 8)]
    ROWWISE_WEIGHTS = [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1), (4, 2), (4, 3), (4, 4), (8, 3)]
    LOCAL_DATA = 26  # taps
    SUMS = (1, 2, 3, 4, 5, 6, 7, 8)
    WINOGRAD = (1, 2, 4)
    WINOGRAD_WEIGHTS = [(1, 1), (2, 1), (4, 1), (8, 1)]
    PRODUCT_WEIGHTS = [(m, n) for m in (1, 2, 4) for n in (1, 2, 4)]
else:
    CONVOLUTION = [(1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (6, 1)]
    ONE_ROW = [(1, 4)]
    DATA = (1, 2, 3, 4, 6)
    WEIGHTS = 6
    DENSE = (1, 2, 4, 5, 6)
    DENSE_FAR = (1, 4, 6)
    DENSE_WEIGHTS = [(1, 1), (2, 1), (4, 1)]
    ROWWISE_WEIGHTS = [(1, 1), (2, 1), (1, 2), (2, 2), (2, 3)]
    LOCAL_DATA = 5
    SUMS = (1, 2, 3, 4, 6)
    WINOGRAD = (1,)
    WINOGRAD_WEIGHTS = [(1, 1), (2, 1), (4, 1)]
    PRODUCT_WEIGHTS = [(1, 1), (1, 2), (2, 1), (2, 2)]


def best(candidates, rows, columns):
    """Return the tile (m, n) that covers rows x columns with the least work.

    A tile's cost is its products, plus the loads of its operands, which weigh more for a column than for a row.
    """

    def cost(tile):
        m, n = tile
        return -(-rows // m) * -(-columns // n) * (m * n + 0.25 * m + 0.6 * n)

    return min((t for t in candidates if t[0] <= rows and t[1] <= columns), key=cost)


def largest(candidates, rows):
    """Return the candidate that covers `rows` in the fewest and then smallest tiles."""
    return min((m for m in candidates if m <= rows), key=lambda m: (-(-rows // m), m))


def convolution(outputs, width):
    """Return (rows, columns) for the forward pass."""
    return best(CONVOLUTION + (ONE_ROW if outputs == 1 else []), outputs, width)


def convolution_data(channels):
    """Return the rows for the gradient of the data.

    One column at a time leaves out all taps outside dy: 6 x 1 on LeNet-5's second layer 99 % of peak, 6 x 2 91 %.
    """
    return largest(DATA, channels)


def convolution_weights(outputs, kernel_width):
    """Return (rows, columns): outputs by neighbouring taps."""
    most = WEIGHTS // 2 if kernel_width > WEIGHTS else WEIGHTS
    columns = min(kernel_width, most)
    rows = [m for m in (1, 2, 3, 4, 6, 8) if m == 1 or m * columns <= WEIGHTS]
    return largest(rows, outputs), columns


def product_weights(outputs, channels):
    """Return (rows, columns) for a product's weights, outputs by channels; 4 x 4: 76 to 92 % of peak, 8 x 2: 64 %."""
    return best(PRODUCT_WEIGHTS, outputs, channels)


def dense(outputs, features=0):
    """Return the rows of a fully connected layer's tile, forward or for its data's gradient.

    The weights of rows 4 KiB apart and more fall into few sets of the cache: twelve such rows 74 % of peak, six 95 %.
    """
    return largest([m for m in DENSE if m <= 6 or features < 1024], outputs)


def dense_far(features):
    """Return the features of a fully connected layer's tile where rows of weights are far apart: a cache line's."""
    return largest(DENSE_FAR, features)


def dense_weights(outputs, features, ahead=0):
    """Return (rows, columns) for a fully connected layer's weight gradient: outputs by groups of 16 features.

    The columns divide the groups, and a last group that is not whole must have one before it to overlap. Many columns
    pay where rows are far apart in memory, unless sums are asked for ahead.
    """
    groups, far_apart = -(-features // 16), features >= 1024 and not ahead
    whole = features % 16 == 0
    fitting = [
        (m, n)
        for m, n in DENSE_WEIGHTS
        if m <= (min(outputs, 4) if ahead else outputs)
        and (n == 1 or (far_apart and groups % n == 0 and (n < groups or whole)))
    ]
    return min(fitting, key=lambda t: (-t[1], -(-outputs // t[0]), t[0]))


def local_data(kernel_height, kernel_width, dilation):
    """Return (rows, columns) of a tile of taps, which divides them; of rows `dilation` apart only one."""
    columns = kernel_width if kernel_width <= LOCAL_DATA else 1
    fits = dilation == 1 and kernel_height * columns <= LOCAL_DATA and columns == kernel_width
    return kernel_height if fits else 1, columns


def local_weights(outputs):
    """Return the outputs of a tile of the weights' gradient of local connections."""
    return largest((1, 2, 3, 4), outputs)


def sums(channels):
    """Return how many channels are summed side by side."""
    return largest(SUMS, channels)


def winograd(count):
    """Return how many Winograd tiles a product does at a time, by 4 outputs."""
    return largest(WINOGRAD, count)


def winograd_weights(outputs, channels):
    """Return (rows, columns) of a tile of the weights' gradient: outputs by groups of 16 channels."""
    return best(WINOGRAD_WEIGHTS, outputs, -(-channels // 16))


def rowwise_weights(outputs, channels):
    """Return (rows, columns) of a tile of the weights' gradient along rows: outputs by channels."""
    return best(ROWWISE_WEIGHTS, outputs, channels)
