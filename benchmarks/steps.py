"""Compare the time of training steps of LeNet-5 and vgg-small on one core with PyTorch's and JAX's.

    python benchmarks/steps.py [--avx2]

A step of distcnn includes gathering the batch from uint8 images, exact sums and the update; for the peers, the batch is
ready in memory. FLOPs are those of direct convolution, with the zeros of the padding, so that Winograd's algorithm can
exceed the peak. With `--avx2`, distcnn and the peers use AVX2 but not AVX-512.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import peers
from rounds import Table, arguments
from work import batch_of, checked, flops, stepping, training_on_noise

if TYPE_CHECKING:
    from distcnn.network.net import Net

AVX2 = {  # variables that Numba, PyTorch, oneDNN (in PyTorch) and XLA (in JAX) read
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma,+bmi,+bmi2,+f16c",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
}
ROWS = {"LeNet-5": ("lenet5", (64, 256)), "vgg-small": ("vgg-small", (64,))}


def step_flops(net: Net) -> int:
    """Return the FLOPs of a step per sample: the forward pass, the gradient of the weights, and that of the data.

    The first layer does not compute the gradient of the data.
    """
    first, *rest = flops(net)
    return 2 * first + 3 * sum(rest)


def main() -> None:
    """Measure, print and save the results."""
    options = arguments(__doc__, avx2="use AVX2 but not AVX-512, in distcnn and in the peers")
    if options.avx2 and not AVX2.items() <= os.environ.items():
        # Libraries read these variables only when they are loaded.
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | AVX2)
    table = Table("steps-avx2" if options.avx2 else "steps", options, rounds=15)
    for title, (model, sizes) in ROWS.items():
        for n in sizes:
            what = f"{title} step, batch {n}"
            if table.wants(what):
                trainer = training_on_noise(model, n)
                images, normalized, labels = batch_of(trainer)
                theirs = peers.steps(trainer.net, normalized, labels, options.quick)
                theirs = checked(theirs, trainer.net.loss_and_gradients(images, labels)[0])
                others = peers.compiled("step", model, n, options.quick)
                table.compare(what, stepping(trainer), theirs, n * step_flops(trainer.net), others)
    table.save()


if __name__ == "__main__":
    main()
