"""Arithmetic with the same bits on every machine: fixed-point sums, elementary functions, random words by counter."""

NUMERICS = 2  # raised whenever a change alters any bit of training
