"""Convolutions on one core, each direction by itself: share of the peak of multiply-adds, and ratio to PyTorch.

    python benchmarks/layers.py [--only TEXT] [--rounds 9]

Rows are the layers of LeNet-5 and vgg-small, direct and, where it is used, Winograd, 64 samples. In every round ours,
PyTorch's (the faster of two layouts) and the peak are timed in turn; printed are medians and quartiles.
"""

import argparse

import numpy as np
import peer

from distcnn.bench.measure import best, fma_peak, interleaved, one_core, quartiles
from distcnn.bench.tiles import CONVOLUTIONS, wiring_of
from distcnn.lanes import LANES

BLOCKS = 4


def our_calls(layer, shape):
    """Return functions for the three directions of one layer, on BLOCKS blocks."""
    wiring = wiring_of(layer, shape)
    for kernel, arguments in layer.prepare(wiring):
        kernel(*arguments)
    directions = {
        "forward": layer.forward(wiring),
        "dx": layer.backward_data(wiring),
        "dW": layer.backward_weights(wiring),
    }

    def run(calls):
        for _ in range(BLOCKS):
            for kernel, arguments in calls:
                kernel(*arguments)

    compiled = {name: [(k.compiled, a) for k, a in calls] for name, calls in directions.items()}
    return {name: (lambda calls=calls: run(calls)) for name, calls in compiled.items()}


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    one_core()
    print(f"{'':34s} {'ms':>8s}   share of peak          times PyTorch {peer.VERSION}")
    for name, (layer, shape) in CONVOLUTIONS.items():
        theirs = [peer.convolution(layer, shape, BLOCKS * LANES, layout) for layout in peer.LAYOUTS]
        flops = BLOCKS * LANES * layer.flops(shape)
        for conv in ("direct", "winograd"):
            used = layer.using(conv)
            if options.only not in f"{name} {conv}" or (
                conv == "winograd" and not used.prepare(wiring_of(used, shape))
            ):
                continue
            for direction, ours in our_calls(used, shape).items():
                if direction == "dx" and shape[0] <= 3:
                    continue  # the first layer of a net has none
                row(
                    f"{name} {conv} {direction}",
                    ours,
                    [each[direction] for each in theirs],
                    flops,
                    options.rounds,
                )


def row(name, ours, theirs, flops, rounds):
    """Measure and print one row."""
    for call in (ours, *theirs):
        call()
    calls = {
        "peak": fma_peak,
        "ours": lambda: best(ours),
        "again": fma_peak,
        "theirs": lambda: min(map(best, theirs)),
    }
    found = interleaved(rounds, calls)
    share = flops / found["ours"] / np.maximum(found["peak"], found["again"])
    ratio = found["theirs"] / found["ours"]
    print(
        f"{name:36s} {np.median(found['ours']) * 1e3:8.3f} {quartiles(share):>20s} {quartiles(ratio):>20s}",
        flush=True,
    )


if __name__ == "__main__":
    main()
