"""Whole training steps on one core: LeNet-5 and vgg-small, compared with PyTorch and JAX.

    python benchmarks/steps.py [--avx2]

Ours includes gathering the batch from uint8 images, exact sums and the update; the peers' batch is ready in memory.
FLOPs are those of direct convolution, zeros of the padding included, so that Winograd's algorithm can exceed the peak.
`--avx2` does the same with AVX2 only, on both sides.
"""

import os
import sys

import peers
from rounds import Table, arguments
from work import batch_of, checked, flops, stepping, training_on_noise

AVX2 = {  # who reads it: Numba, PyTorch, oneDNN inside of it, XLA inside of JAX
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma,+bmi,+bmi2,+f16c",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
}
ROWS = {"LeNet-5": ("lenet5", (64, 256)), "vgg-small": ("vgg-small", (64,))}


def step_flops(net):
    """Return a sample's FLOPs: forward, the weights' gradient, and the data's in all layers but the first."""
    first, *rest = flops(net)
    return 2 * first + 3 * sum(rest)


def main():
    """Measure, print and keep."""
    options = arguments(__doc__, avx2="leave AVX-512 out, on both sides")
    if options.avx2 and not AVX2.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | AVX2)  # libraries read it once
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
