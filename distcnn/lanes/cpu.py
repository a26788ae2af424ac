"""The processor that kernels are compiled for."""

from functools import cache

from numba.core.registry import cpu_target


@cache
def processor() -> tuple[str, str]:
    """Return the name and the features of the processor that Numba compiles for."""
    _, name, features = cpu_target.target_context.codegen().magic_tuple()
    return name, features


@cache
def vector_registers() -> int:
    """Return how many Lanes the registers hold: 32 with AVX-512, 8 pairs with AVX2."""
    name, features = processor()
    wide = (
        "avx512",
        "icelake",
        "cascadelake",
        "cooperlake",
        "cannonlake",
        "rapids",
        "tigerlake",
        "rocketlake",
    )
    return 32 if "+avx512f" in features or name in ("znver4", "znver5") or any(w in name for w in wide) else 8
