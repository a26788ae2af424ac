"""Arithmetic with the same bits on every machine: fixed-point sums, elementary functions, random words by counter."""
