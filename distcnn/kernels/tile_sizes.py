"""Sizes of register tiles. They depend on the shape of the layer and the number of registers, and never change a bit.

A tile that does not fit into the registers spills and is several times slower, so the candidates were measured:
`python -m distcnn.bench tiles` prints the share of the CPU's peak that each reaches. The registers of AVX-512 hold 32
Lanes of accumulators and operands, those of AVX2 and of NEON hold 8. For NEON, no processor was at hand: the loads and
stores of spilled registers were counted in the code that LLVM generates.
"""

from collections.abc import Sequence

from distcnn.lanes.cpu import IS_AARCH64, vector_registers

Tile = tuple[int, int]  # rows, columns
WIDE = vector_registers() == 32  # AVX-512

if WIDE:
    CONVOLUTION = [(1, 1), (1, 2), (2, 1), (2, 2), (2, 4), (2, 5), (2, 7)]
    CONVOLUTION += [(3, 5), (4, 2), (4, 4), (4, 5), (8, 1), (8, 2)]
    ONE_ROW = [(1, 4), (1, 7), (1, 8)]  # of one channel a group
    DATA = (1, 2, 3, 4, 6, 8)
    WEIGHTS, WEIGHTS_ROWS, WEIGHTS_COLUMNS = 14, (1, 2, 3, 4, 6, 8), 14  # accumulators, rows, most columns
    DENSE = (1, 2, 4, 6, 10, 12)
    DENSE_FAR = (1, 4, 8, 16)
    DENSE_WEIGHTS = [(1, 1), (2, 1), (4, 1), (6, 1), (2, 4), (2, 8)]
    WINOGRAD_ROWS_WEIGHTS = [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1), (4, 2), (4, 3), (4, 4), (8, 3)]
    LOCAL_DATA = 26  # taps
    SUMS = (1, 2, 3, 4, 5, 6, 7, 8)
    WINOGRAD = (1, 2, 4)
    WINOGRAD_WEIGHTS = [(1, 1), (2, 1), (4, 1), (8, 1)]
    MATMUL_WEIGHTS = [(m, n) for m in (1, 2, 4) for n in (1, 2, 4)]
else:
    CONVOLUTION = [(1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (6, 1)]
    ONE_ROW = [(1, 4)]
    DATA = (1, 2, 3, 4, 6)
    WEIGHTS, WEIGHTS_ROWS, WEIGHTS_COLUMNS = 6, (1, 2, 3, 4, 6), 6
    DENSE = (1, 2, 4, 5, 6)
    DENSE_FAR = (1, 4, 6)
    DENSE_WEIGHTS = [(1, 1), (2, 1), (4, 1)]
    WINOGRAD_ROWS_WEIGHTS = [(1, 1), (2, 1), (1, 2), (2, 2), (2, 3)]
    LOCAL_DATA = 5
    SUMS = (1, 2, 3, 4, 6)
    WINOGRAD = (1,)
    WINOGRAD_WEIGHTS = [(1, 1), (2, 1), (4, 1)]
    MATMUL_WEIGHTS = [(1, 1), (1, 2), (2, 1), (2, 2)]
    if IS_AARCH64:
        # In the innermost loop, multiply-adds and spills: 4 x 1 16 and 1, 1 x 5 20 and 6, 2 x 3 24 and 35.
        WEIGHTS, WEIGHTS_ROWS, WEIGHTS_COLUMNS = 4, (1, 2, 4), 1
        DENSE_WEIGHTS = [(1, 1), (2, 1)]  # 2 x 1: 16 and 0, 4 x 1: 16 and 25


def best(candidates: list[Tile], rows: int, columns: int) -> Tile:
    """Return the tile (m, n) that covers rows x columns with the lowest cost.

    The cost of a tile is the number of its products plus the cost of the loads of its operands, which is higher for
    columns.
    """

    def cost(tile):
        m, n = tile
        return -(-rows // m) * -(-columns // n) * (m * n + 0.25 * m + 0.6 * n)

    return min((t for t in candidates if t[0] <= rows and t[1] <= columns), key=cost)


def largest(candidates: Sequence[int], rows: int) -> int:
    """Return the candidate that covers `rows` with the fewest tiles; if there are several, the smallest."""
    return min((m for m in candidates if m <= rows), key=lambda m: (-(-rows // m), m))


def convolution(outputs: int, width: int) -> Tile:
    """Return (rows, columns) of a convolution's tile, forward: outputs by columns of the image."""
    return best(CONVOLUTION + (ONE_ROW if outputs == 1 else []), outputs, width)


def convolution_data(channels: int) -> int:
    """Return the rows, channels, of the tile for the gradient of a convolution's data.

    A tile of one column skips all taps outside dy: 6 x 1 on LeNet-5's second layer 99 % of peak, 6 x 2 91 %.
    """
    return largest(DATA, channels)


def convolution_weights(outputs: int, kernel_width: int) -> Tile:
    """Return (rows, columns) of the tile for the gradient of a convolution's weights: outputs by neighboring taps."""
    most = WEIGHTS // 2 if kernel_width > WEIGHTS else WEIGHTS
    columns = min(kernel_width, most, WEIGHTS_COLUMNS)
    rows = [m for m in WEIGHTS_ROWS if m == 1 or m * columns <= WEIGHTS]
    return largest(rows, outputs), columns


def matmul_weights(outputs: int, channels: int) -> Tile:
    """Return (rows, columns) of the tile for the gradient of a matrix product's weights: outputs by channels.

    4 x 4: 76 to 92 % of peak, 8 x 2: 64 %.
    """
    return best(MATMUL_WEIGHTS, outputs, channels)


def dense(outputs: int, features: int = 0) -> int:
    """Return the rows of a fully connected layer's tile, forward or for the gradient of its data.

    Rows of weights that are 4 KiB or more apart share few sets of the cache: twelve such rows 74 % of peak, six 95 %.
    """
    return largest([m for m in DENSE if m <= 6 or features < 1024], outputs)


def dense_far(features: int) -> int:
    """Return the features of a fully connected layer's tile where rows of weights are far apart."""
    return largest(DENSE_FAR, features)


def dense_weights(outputs: int, features: int, ahead: int = 0) -> Tile:
    """Return (rows, columns) of the tile for the gradient of dense weights: outputs by groups of 16 features.

    The columns divide the number of groups. If the last group has fewer than 16 features, it must overlap the previous
    one, so that a single tile cannot hold all groups. Many columns are faster if rows of weights are far apart in
    memory, unless sums are prefetched (`ahead` > 0).
    """
    groups, far_apart = -(-features // 16), features >= 1024 and not ahead
    whole = features % 16 == 0
    candidates = [
        (m, n)
        for m, n in DENSE_WEIGHTS
        if m <= (min(outputs, 4) if ahead else outputs)
        and (n == 1 or (far_apart and groups % n == 0 and (n < groups or whole)))
    ]
    return min(candidates, key=lambda t: (-t[1], -(-outputs // t[0]), t[0]))


def local_data(kernel_height: int, kernel_width: int, dilation: int) -> Tile:
    """Return (rows, columns) of the tile of taps for the data's gradient of local connections; one row if dilated."""
    columns = kernel_width if kernel_width <= LOCAL_DATA else 1
    fits = dilation == 1 and kernel_height * columns <= LOCAL_DATA and columns == kernel_width
    return kernel_height if fits else 1, columns


def local_weights(outputs: int) -> int:
    """Return the rows, outputs, of the tile for the gradient of the weights of local connections."""
    return largest((1, 2, 3, 4), outputs)


def sums(channels: int) -> int:
    """Return how many channels are summed at a time."""
    return largest(SUMS, channels)


def winograd(count: int) -> int:
    """Return the columns, Winograd tiles, of the register tile of a product at Winograd's points; it has 4 rows."""
    return largest(WINOGRAD, count)


def winograd_weights(outputs: int, channels: int) -> Tile:
    """Return (rows, columns) of the tile for Winograd's weight gradient: outputs by groups of 16 channels."""
    return best(WINOGRAD_WEIGHTS, outputs, -(-channels // 16))


def winograd_rows_weights(outputs: int, channels: int) -> Tile:
    """Return (rows, columns) of the tile for the weight gradient of Winograd along rows: outputs by channels."""
    return best(WINOGRAD_ROWS_WEIGHTS, outputs, channels)
