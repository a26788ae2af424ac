"""The CPU that kernels are compiled for."""

import platform
from functools import cache

from llvmlite import binding
from numba import config

MACHINE = platform.machine().lower()  # the architecture
IS_X86, IS_AARCH64 = MACHINE in ("x86_64", "amd64"), MACHINE in ("aarch64", "arm64")

# Parts of LLVM's names of CPUs with AVX-512, for users who set NUMBA_CPU_NAME without NUMBA_CPU_FEATURES.
AVX512 = (
    "avx512",
    "icelake",
    "cascadelake",
    "cooperlake",
    "cannonlake",
    "rapids",
    "tigerlake",
    "rocketlake",
    "znver4",
    "znver5",
)


@cache
def processor() -> tuple[str, str]:
    """Return LLVM's name and LLVM's features of the CPU that Numba compiles for.

    It is the CPU of this machine, unless the user has set NUMBA_CPU_NAME, NUMBA_CPU_FEATURES or NUMBA_ENABLE_AVX.
    """
    name = binding.get_host_cpu_name() if config.CPU_NAME is None else config.CPU_NAME
    features = _host_features() if config.CPU_FEATURES is None else config.CPU_FEATURES
    return name, features


def _host_features():
    try:
        features = binding.get_host_cpu_features()
    except RuntimeError:  # LLVM does not know the features of this CPU
        return ""
    if not config.ENABLE_AVX:
        features.update({name: False for name in features if name.startswith("avx")})
    return features.flatten()


@cache
def vector_registers() -> int:
    """Return how many Lanes fit into the vector registers.

    AVX-512 has 32 registers of 512 bits, which hold 32 Lanes; AVX2 has 16 of 256 bits, and NEON, of AArch64, 32 of 128
    bits: both hold 8 Lanes.
    """
    name, features = processor()
    return 32 if "+avx512f" in features or any(each in name for each in AVX512) else 8


def instructions() -> str:
    """Return the name of the vector instructions that kernels are compiled to, for people."""
    if vector_registers() == 32:
        return "AVX-512"
    return "AVX2" if IS_X86 else "NEON" if IS_AARCH64 else MACHINE
