"""Training steps on one core, ours beside PyTorch's, as ratios measured in one run.

    python benchmarks/step.py [--model lenet5|vgg-small] [--conv winograd|direct] [--batch-size 64] [--rounds 15]

Each round times both in turn, the best of three, and the peak of fused multiply-adds; printed are medians over the
rounds and quartiles of the ratios. PyTorch runs eagerly with one thread, in the faster of its two memory layouts, on
a batch that is ready in memory; ours includes gathering the batch from uint8 images. FLOPs are those of direct
convolution, zeros of the padding included, so that Winograd's algorithm can exceed the peak.
"""

import argparse

import numpy as np
import peer

from distcnn import models
from distcnn.bench.measure import best, fma_peak, interleaved, one_core, quartiles
from distcnn.config import Config
from distcnn.lanes import LANES
from distcnn.layers import Conv2D, Dense
from distcnn.optim import Momentum
from distcnn.plan import Block

CLASSES = 10
SHAPES = {"lenet5": (1, 28, 28), "vgg-small": (3, 32, 32)}
NAMES = {"lenet5": "LeNet-5"}


def our_step(net, batch_size):
    """Return a function that does one training step."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4096, *net.input_shape), dtype=np.uint8)
    labels = rng.integers(0, CLASSES, len(images))
    order = rng.permutation(len(images))
    net.scale[:], net.shift[:] = 1 / 128, -1
    optimiser = Momentum(net, Config())
    starts = range(0, batch_size, LANES)

    def step():
        net.start(len(starts))
        for start in starts:
            net.train_block(Block.of(images, labels, order[start : min(start + LANES, batch_size)]))
        optimiser.update(batch_size, 0.01, 1)

    return step


def flops(net):
    """Return the FLOPs of a sample's step: forward, the weights' gradient, and the data's but in the first layer."""
    total, passes = 0, 2
    for layer, shape, out in zip(net.layers, net.shapes, net.shapes[1:], strict=False):
        match layer:
            case Conv2D():
                total += passes * layer.flops(shape)
            case Dense():
                total += passes * 2 * shape[0] * out[0]
            case _:
                continue
        passes = 3
    return total


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="lenet5", choices=SHAPES)
    parser.add_argument("--conv", default="winograd", choices=("winograd", "direct"))
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    one_core()
    net, n = models.build(options.model, SHAPES[options.model], CLASSES, 0, options.conv), options.batch_size
    ours, theirs = our_step(net, n), [peer.step(net, n, layout) for layout in peer.LAYOUTS]
    for step in (ours, *theirs):
        step()
    calls = {
        "peak": fma_peak,
        "ours": lambda: best(ours),
        "again": fma_peak,
        "theirs": lambda: min(map(best, theirs)),
    }
    found = interleaved(options.rounds, calls)
    our_time, their_time = np.median(found["ours"]), np.median(found["theirs"])
    share = flops(net) * n / found["ours"] / np.maximum(found["peak"], found["again"])
    name = NAMES.get(options.model, options.model)
    print(f"{name}, batch {n}, one core, median of {options.rounds} rounds")
    print(f"distcnn          {n / our_time:10,.0f} samples/s   {our_time * 1e3:7.3f} ms a step")
    print(f"PyTorch {peer.VERSION:8s} {n / their_time:10,.0f} samples/s   {their_time * 1e3:7.3f} ms a step")
    print(
        "ratio            {:10.2f}   [quartiles {:.2f} {:.2f}]".format(
            *_percentiles(found["theirs"] / found["ours"])
        )
    )
    print(f"share of peak    {quartiles(share):>10s}   ({np.median(found['peak']) / 1e9:.0f} GFLOP/s)")


def _percentiles(values):
    return np.percentile(values, [50, 25, 75])


if __name__ == "__main__":
    main()
