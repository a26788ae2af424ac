"""Compare the time of inference on one core: `net.predict`, ONNX Runtime, PyTorch and JAX.

    python benchmarks/inference.py

All get the same normalized float32 images (n, c, h, w). Conversions to other layouts are within the measured time,
except for PyTorch's channels_last.
"""

from __future__ import annotations

import functools

import peers
from rounds import Table, arguments
from work import checked, flops, prediction_of_noise

BATCH_SIZE = 256


def main() -> None:
    """Measure, print and save the results."""
    options = arguments(__doc__)
    table = Table("inference", options, rounds=15)
    for title, model in {"LeNet-5": "lenet5", "vgg-small": "vgg-small"}.items():
        what = f"{title} inference, batch {BATCH_SIZE}"
        if table.wants(what):
            net, images = prediction_of_noise(model, BATCH_SIZE)
            theirs = peers.predictions(net, images, options.quick)
            theirs = checked(theirs, net.predict(images))
            ours = functools.partial(net.predict, images)
            others = peers.compiled("prediction", model, BATCH_SIZE, options.quick)
            table.compare(what, ours, theirs, BATCH_SIZE * sum(flops(net)), others)
    table.save()


if __name__ == "__main__":
    main()
