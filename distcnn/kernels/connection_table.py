"""Copies between the filters of some pairs (output map, input map), as in LeNet-5, and an array of all pairs."""

from distcnn.kernels.jit import kernel


@kernel("f4:2C i8:2 f4:3C")
def expand(w, pairs, whole):
    """whole[o, c] = w[p] for each pair p of an output o and an input c, over all taps; other filters stay unchanged."""
    for p in range(pairs.shape[0]):
        o, c = pairs[p, 0], pairs[p, 1]
        for tap in range(w.shape[1]):
            whole[o, c, tap] = w[p, tap]


@kernel("i8:3C i8:2 i8:2C")
def collect(whole, pairs, g):
    """g[p] += whole[o, c], exact sums, for each pair p, over all taps; then whole = 0."""
    for p in range(pairs.shape[0]):
        o, c = pairs[p, 0], pairs[p, 1]
        for tap in range(g.shape[1]):
            g[p, tap] += whole[o, c, tap]
    for o in range(whole.shape[0]):
        for c in range(whole.shape[1]):
            for tap in range(whole.shape[2]):
                whole[o, c, tap] = 0
