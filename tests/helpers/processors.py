"""Another instruction set than that of this processor, to compare their bits."""

import os

import pytest

# What Numba compiles for in a process with this environment: Haswell was the first with AVX2 and FMA.
AVX2 = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma,+bmi,+bmi2,+f16c"}
on_x86 = pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="only x86 has several instruction sets here"
)
