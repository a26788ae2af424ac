"""Filters that exist only for some pairs of maps, and their place among the filters of all pairs."""

from distcnn.kernels.compile import kernel


@kernel("f4:3 i8:2 f4:4")
def expand(w, pairs, whole):
    """whole[o, c] = w[p] for each pair p of an output o and an input c; the rest stays as it is."""
    for p in range(pairs.shape[0]):
        for i in range(w.shape[1]):
            for j in range(w.shape[2]):
                whole[pairs[p, 0], pairs[p, 1], i, j] = w[p, i, j]


@kernel("i8:4 i8:2 i8:3")
def collect(whole, pairs, g):
    """g[p] += whole[o, c], exact sums, for each pair p; then whole = 0."""
    for p in range(pairs.shape[0]):
        for i in range(g.shape[1]):
            for j in range(g.shape[2]):
                g[p, i, j] += whole[pairs[p, 0], pairs[p, 1], i, j]
    for o in range(whole.shape[0]):
        for c in range(whole.shape[1]):
            for i in range(whole.shape[2]):
                for j in range(whole.shape[3]):
                    whole[o, c, i, j] = 0
