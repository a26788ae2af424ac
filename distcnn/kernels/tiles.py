"""Which register tile a kernel gets: it follows the shape and the number of registers, and never changes a bit.

A tile that does not fit into the registers spills and is four times slower, so the candidates were measured:
rows * columns accumulators plus the operands must fit into 32 Lanes (AVX-512) or 8 (AVX2).
"""

from distcnn.kernels.compile import vector_registers

WIDE = vector_registers() == 32


def best(candidates, rows, columns):
    """Return the tile (m, n) that covers rows x columns with the least work.

    A tile's cost is its products, plus the loads of its operands, which weigh about a quarter of a product.
    """

    def cost(tile):
        m, n = tile
        return -(-rows // m) * -(-columns // n) * (m * n + 0.25 * (m + n))

    return min((t for t in candidates if t[0] <= rows and t[1] <= columns), key=cost)


def largest(candidates, rows):
    """Return the candidate that covers `rows` in the fewest and then smallest tiles."""
    return min((m for m in candidates if m <= rows), key=lambda m: (-(-rows // m), m))


_SMALL = [(m, n) for m in (1, 2) for n in (1, 2)]
if WIDE:
    CONVOLUTION = [*_SMALL, (2, 4), (2, 7), (4, 1), (4, 2), (4, 4), (4, 5), (6, 1), (6, 2), (8, 1), (8, 2)]
    DATA = [*_SMALL, (3, 1), (3, 2), (4, 1), (4, 2), (4, 4), (6, 1), (6, 2), (8, 1), (8, 2)]
    DENSE = (1, 2, 4, 6, 10, 12)
    DENSE_WEIGHTS = (1, 2, 4, 6, 10)
    SUMS = (1, 2, 4, 8)
    WINOGRAD = [*_SMALL, (4, 1), (8, 1), (4, 2), (8, 2), (4, 4)]
    WINOGRAD_WEIGHTS = [*_SMALL, (4, 1), (8, 1), (4, 2), (8, 2), (4, 4)]
else:
    CONVOLUTION = [(1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (6, 1)]
    DATA = [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (4, 1), (6, 1)]
    DENSE = (1, 2, 4, 5, 6)
    DENSE_WEIGHTS = (1, 2, 4, 5, 6)
    SUMS = (1, 2, 4)
    WINOGRAD = [(1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (6, 1)]
    WINOGRAD_WEIGHTS = [(1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (6, 1)]


def convolution(outputs, width):
    """Return (rows, columns) for the forward pass."""
    return best(CONVOLUTION, outputs, width)


def convolution_data(channels, width):
    """Return (rows, columns) for the gradient of the data; width: the fewest positions done together."""
    return best(DATA, channels, width)


def convolution_weights(outputs, kernel_width):
    """Return (rows, columns): outputs by neighbouring taps."""
    registers = 29 if WIDE else 7
    columns = next(
        k for k in range(min(kernel_width, 11 if WIDE else 5), 0, -1) if kernel_width % k == 0 or k <= 5
    )
    rows = max(m for m in (1, 2, 3, 4, 6, 8) if m == 1 or m * columns + m + columns <= registers)
    return largest([m for m in (1, 2, 3, 4, 6, 8) if m <= rows], outputs), columns


def dense(outputs):
    """Return the rows of a fully connected layer's tile, forward or for its data's gradient."""
    return largest(DENSE, outputs)


def dense_weights(outputs):
    """Return the rows of the tile for a fully connected layer's weight gradient."""
    return largest(DENSE_WEIGHTS, outputs)


def sums(channels):
    """Return how many channels are summed side by side."""
    return largest(SUMS, channels)


def winograd(outputs, count):
    """Return (rows, columns) of a product's tile: outputs by Winograd tiles."""
    return best(WINOGRAD, outputs, count)


def winograd_weights(outputs, channels):
    """Return (rows, columns) of a tile of the weights' gradient: outputs by groups of 16 channels."""
    return best(WINOGRAD_WEIGHTS, outputs, -(-channels // 16))


def winograd_share(channels):
    """Return how many Winograd tiles are transformed at a time: about half a megabyte of them."""
    return max(2, min(16, 256 // channels))


def winograd_outputs_together(outputs):
    """Return how many outputs' products are computed before they are transformed back."""
    return outputs if outputs <= 32 else 32
